import { hasParameter, partsOf } from "../../base/linux/commandLine.ts"
import { Failure } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { listed } from "../../base/terms/printable.ts"
import type { Boot, Program, VmmNeeds } from "../vmm/vmm.ts"
import { BODY_MAX_BYTES } from "./api.ts"
import { HERE, requireCpu } from "./cpu.ts"
import { requireKnown } from "./version.ts"

/**
 * Throws a failure that names the setting when Firecracker, or this release of it, cannot do what a spec asks for, before
 * anything is made. The spec's schema has checked that each setting is well formed. Pure, except that it may ask for this
 * host's processor.
 */
export function requireNeeds({ version }: Program, needs: VmmNeeds): void {
  requireBounds(needs)
  requireCpu(needs.firecracker, HERE)
  requireKnown(needs, [...version, 0])
}

/** What tells drives apart. */
type Drives = Pick<VmmNeeds, "firecracker" | "drives">

/** Throws a failure for settings of a drive that does not exist, once hooks have added theirs. */
export function requireDrives({ disks, firecracker }: Pick<Boot, "firecracker"> & { disks: VmmNeeds["drives"] }): void {
  requireKinds({ drives: disks, firecracker })
  const ids = disks.map(({ id }) => id)
  const unknown = Object.keys(firecracker.drives ?? {}).find((id) => !ids.includes(id))
  if (unknown === undefined) return
  const like = nearest(unknown, ids)
  const subject = `firecracker.drives.${unknown}`
  const hint = `the drives are ${listed(ids)}`
  const meant = like === undefined ? "" : `; did you mean ${like}?`
  throw new Failure("BAD_PLUGIN", `firecracker.drives: no drive is called ${unknown}${meant}`, { subject, hint })
}

// --- internal ---

type Hotplug = NonNullable<VmmNeeds["firecracker"]["memory_hotplug"]>

/** Whether an x86-64 kernel looks for no device on the PCI bus (arch/x86/pci/common.c). */
const hasNoPci = (bootArgs: string) => hasParameter(bootArgs, "pci", (value) => value.split(",").includes("off"))

function requireBounds(needs: VmmNeeds): void {
  const { vcpus, memoryMiB, bootArgs, firecracker, jailed, networked, restored } = needs
  const { machine, balloon, memory_hotplug, mmds, network, resource_limit, pci } = firecracker
  if (pci === true && hasNoPci(bootArgs))
    throw outOfBounds("pci", "bootArgs say pci=off, with which the guest finds no device", "take one of the two out")
  if (partsOf(bootArgs).own.includes(" -- "))
    throw new Failure("BAD_PLUGIN", "bootArgs: Firecracker takes a -- in quotes for the one before init's words", {
      subject: "bootArgs",
    })
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
  requireKinds(needs)
  requireOneRoot(needs)
  for (const setting of ["pmem", "vhost_user"] as const)
    if (needs.restored && firecracker[setting] !== undefined)
      throw outOfBounds(setting, "a snapshot has none of these, so neither has a VM that is restored from one")
  if (memory_hotplug !== undefined) requireHotplug(memory_hotplug)
  const needy = mmds !== undefined ? "mmds" : network === undefined ? undefined : "network"
  if (needy !== undefined && !networked)
    throw outOfBounds(needy, "the guest has no network card", "give it a network with a tap, or leave this out")
  requireFits("mmds.data", mmds?.data)
  requireFits("cpu_config", firecracker.cpu_config)
  if (resource_limit !== undefined && !jailed)
    throw outOfBounds(
      "resource_limit",
      "the jailer keeps it, and there is no jail",
      "run it in a jail, or leave it out",
    )
}

/** Each drive has an id of its own, and only one with the root file system has a partition with it. */
function requireKinds({ drives, firecracker }: Drives): void {
  const ids = drives.map(({ id }) => id)
  const partition = (setting: string) =>
    outOfBounds(`${setting}.partuuid`, "is for the drive with the root file system")
  for (const { id, root } of drives)
    if (!root && firecracker.drives?.[id]?.partuuid !== undefined) throw partition(`drives.${id}`)
  for (const [index, { id, root_device, partuuid }] of (firecracker.vhost_user ?? []).entries()) {
    const setting = `vhost_user[${index}]`
    if (ids.includes(id)) throw outOfBounds(`${setting}.id`, `a drive is called ${id} already`)
    if (root_device !== true && partuuid !== undefined) throw partition(setting)
  }
}

/** The root file system is in one place. */
function requireOneRoot({ drives, firecracker: { pmem = [], vhost_user = [] } }: VmmNeeds): void {
  const roots = [
    ...drives.flatMap(({ root }, index) => (root ? [`drives[${index}]`] : [])),
    ...vhost_user.flatMap(({ root_device }, index) => (root_device ? [`firecracker.vhost_user[${index}]`] : [])),
    ...pmem.flatMap(({ root_device }, index) => (root_device ? [`firecracker.pmem[${index}]`] : [])),
  ]
  const [first, second] = roots
  if (second === undefined) return
  throw new Failure("BAD_PLUGIN", `${second}: ${first} has the root file system already`, { subject: second })
}

/** What Firecracker's MemoryHotplugConfig asks of the three sizes, with its defaults. */
function requireHotplug({
  total_size_mib: total,
  block_size_mib: block = 2,
  slot_size_mib: slot = 128,
}: Hotplug): void {
  const bad = (field: string, words: string) => outOfBounds(`memory_hotplug.${field}`, words)
  if (!Number.isInteger(Math.log2(block))) throw bad("block_size_mib", `${block} is not a power of 2`)
  if (slot % block !== 0) throw bad("slot_size_mib", `${slot} is not a multiple of block_size_mib (${block})`)
  if (total % slot !== 0) throw bad("total_size_mib", `${total} is not a multiple of slot_size_mib (${slot})`)
}

function requireFits(setting: string, body: object | undefined): void {
  const bytes = Buffer.byteLength(JSON.stringify(body ?? {}))
  if (bytes > BODY_MAX_BYTES) throw outOfBounds(setting, `${bytes} bytes; Firecracker takes ${BODY_MAX_BYTES} at most`)
}

function outOfBounds(setting: string, words: string, hint?: string): Failure {
  const subject = `firecracker.${setting}`
  return new Failure("BAD_PLUGIN", `${subject}: ${words}`, { subject, hint })
}
