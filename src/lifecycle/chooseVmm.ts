import { O } from "../linux/constants.ts"
import { close, openAt } from "../linux/files.ts"
import { AT_FDCWD } from "../linux/guards.ts"
import type { Spec } from "../plugin/spec.ts"
import { type Config, readConfig } from "../state/config.ts"
import { places } from "../state/places.ts"
import { Failure, inOneLine, isFailure, reason } from "../terms/failure.ts"
import { firecracker } from "../vmm/firecracker.ts"
import { qemu } from "../vmm/qemu.ts"
import type { Program, Vmm } from "../vmm/vmm.ts"

/** A VMM, and its program on this host. */
export interface Chosen {
  readonly vmm: Vmm
  readonly program: Program
}

/** The VMMs of this host, being looked for. */
export interface Candidates {
  /** The one that a spec asks for, or the best there is. Throws a failure that says how to get one. */
  choose(wanted: Spec["vmm"], jailed: boolean): Promise<Chosen>
}

/** Begins to look for both, so that what they say of their versions is there when it is needed. */
export function findCandidates(): Candidates {
  const config: Config = readConfig(places(process.env, process.geteuid?.() ?? 0).config)
  const looking = { qemu: qemu.find(config), firecracker: firecracker.find(config) }
  // Whoever awaits one sees its failure; one of the two is never awaited.
  for (const each of Object.values(looking)) each.catch(() => {})
  return {
    async choose(wanted, jailed) {
      if (wanted === "qemu") return { vmm: qemu, program: await looking.qemu }
      if (wanted === "firecracker") return { vmm: firecracker, program: await looking.firecracker }
      const why = await unusable(looking.firecracker, jailed)
      if (why === undefined) return { vmm: firecracker, program: await looking.firecracker }
      try {
        return { vmm: qemu, program: await looking.qemu }
      } catch (error) {
        const words = isFailure(error) ? inOneLine(error) : reason(error)
        throw new Failure(`no VMM can be used here\nfirecracker: ${why}\nqemu: ${words}`, { cause: error })
      }
    },
  }
}

// --- internal ---

/** Why Firecracker cannot be used, or undefined when it can. */
async function unusable(looking: Promise<Program>, jailed: boolean): Promise<string | undefined> {
  try {
    const { jailer } = await looking
    if (jailed && jailer === undefined) return "its jailer is not in PATH"
    close(openAt(AT_FDCWD, "/dev/kvm", O.RDWR))
    return undefined
  } catch (error) {
    return isFailure(error) ? inOneLine(error) : reason(error)
  }
}
