import { Failure } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import type { Boot, Program, VmmNeeds } from "../vmm/vmm.ts"
import { BODY_MAX_BYTES } from "./api.ts"
import { requireKnown } from "./version.ts"

/**
 * Throws a failure that names the setting when Firecracker, or this release of it, cannot do what a spec asks for, before
 * anything is made. The spec's schema has checked that each setting is well formed. Pure.
 */
export function requireNeeds({ version }: Program, needs: VmmNeeds): void {
  requireBounds(needs)
  requireKnown(needs, [...version, 0])
}

/** Throws a failure for settings of a drive that does not exist. */
export function requireDrives({ disks, firecracker }: Boot): void {
  const ids = disks.map(({ id }) => id)
  const unknown = Object.keys(firecracker.drives ?? {}).find((id) => !ids.includes(id))
  if (unknown === undefined) return
  const like = nearest(unknown, ids)
  const subject = `firecracker.drives.${unknown}`
  const hint = `the drives are ${ids.join(", ") || "none"}`
  const meant = like === undefined ? "" : `; did you mean ${like}?`
  throw new Failure("BAD_PLUGIN", `firecracker.drives: no drive is called ${unknown}${meant}`, { subject, hint })
}

// --- internal ---

function requireBounds({ vcpus, memoryMiB, firecracker, jailed, networked, restored }: VmmNeeds): void {
  const { machine, balloon, mmds, network, resource_limit } = firecracker
  if (machine?.smt === true && process.arch !== "x64")
    throw new Failure("UNSUPPORTED", "firecracker.machine.smt: is for x86-64 alone", {
      subject: "firecracker.machine.smt",
    })
  if (machine?.smt === true && vcpus > 1 && vcpus % 2 !== 0)
    throw outOfBounds("machine.smt", `vcpus must be 1 or even, not ${vcpus}`)
  if (machine?.huge_pages === "2M" && memoryMiB % 2 !== 0)
    throw outOfBounds("machine.huge_pages", `memory must be an even number of MiB, not ${memoryMiB}`)
  if (machine?.huge_pages === "2M" && restored && firecracker.uffd === undefined)
    throw outOfBounds(
      "machine.huge_pages",
      "Firecracker restores huge pages only from a handler of page faults",
      "name its socket: firecracker.uffd",
    )
  if (Number(balloon?.amount_mib) > memoryMiB)
    throw outOfBounds("balloon.amount_mib", `${balloon?.amount_mib} is more than the guest's memory (${memoryMiB})`)
  const needy = mmds !== undefined ? "mmds" : network === undefined ? undefined : "network"
  if (needy !== undefined && !networked)
    throw outOfBounds(needy, "the guest has no network card", "give it a network with a tap, or leave this out")
  const bytes = Buffer.byteLength(JSON.stringify(mmds?.data ?? {}))
  if (bytes > BODY_MAX_BYTES)
    throw outOfBounds("mmds.data", `${bytes} bytes; Firecracker takes ${BODY_MAX_BYTES} at most`)
  if (resource_limit !== undefined && !jailed)
    throw outOfBounds(
      "resource_limit",
      "the jailer keeps it, and there is no jail",
      "run it in a jail, or leave it out",
    )
}

function outOfBounds(setting: string, words: string, hint?: string): Failure {
  const subject = `firecracker.${setting}`
  return new Failure("BAD_PLUGIN", `${subject}: ${words}`, { subject, hint })
}
