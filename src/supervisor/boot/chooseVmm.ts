import { O } from "../../base/linux/constants.ts"
import { close, openAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, inOneLine, isFailure, messageOf } from "../../base/terms/failure.ts"
import { once } from "../../base/terms/once.ts"
import type { Chosen } from "../../host/vmm/vmm.ts"
import { catalog } from "../../inputs/image/catalog.ts"
import { listImages } from "../../inputs/image/store.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { findProgram } from "../../store/files/programs.ts"
import { type Config, readConfig } from "../../store/state/config.ts"
import { type Places, places } from "../../store/state/places.ts"

/** The VMMs of this host, which are being searched for. */
export interface Candidates {
  /** The VMM that a spec asks for, or the best there is. Throws a failure that says how to get one. */
  choose(wanted: Spec["vmm"], jailed: boolean): Promise<Chosen>
  /** Why `auto` does not take Firecracker, or undefined when it does. */
  whyNotFirecracker(jailed: boolean): Promise<string | undefined>
}

/**
 * Begins to search for the likelier VMM, so that its version is known when it is needed: Firecracker, where there is one.
 * The other is searched for on demand.
 */
export function findCandidates(): Candidates {
  const where = places(process.env, process.geteuid?.() ?? 0)
  const config = { ...withDownloaded(readConfig(where.config), where), state: where.state }
  const findQemu = once(async () => {
    const { qemu } = await import("../../host/qemu/qemu.ts")
    return { vmm: qemu, program: await qemu.find(config) }
  })
  const findFirecracker = once(async () => {
    const { firecracker } = await import("../../host/firecracker/firecracker.ts")
    return { vmm: firecracker, program: await firecracker.find(config) }
  })
  const likelier = config.firecracker ?? findProgram("firecracker").path
  // Whoever awaits it sees its failure; it may never be awaited.
  const early: Promise<Chosen> = likelier === undefined ? findQemu() : findFirecracker()
  early.catch(() => {})
  return {
    whyNotFirecracker: (jailed) => unusable(findFirecracker(), jailed),
    async choose(wanted, jailed) {
      if (wanted === "qemu") return findQemu()
      if (wanted === "firecracker") return findFirecracker()
      const why = await unusable(findFirecracker(), jailed)
      if (why === undefined) return findFirecracker()
      try {
        return await findQemu()
      } catch (error) {
        const words = isFailure(error) ? inOneLine(error) : messageOf(error)
        const message = `no VMM can be used here\nfirecracker: ${why}\nqemu: ${words}`
        throw new Failure("HOST_LACKS", message, { subject: "vmm", cause: error })
      }
    },
  }
}

// --- internal ---

/** Where neither the configuration nor PATH has a Firecracker, the pair that `banger get` has downloaded, if any. */
function withDownloaded(config: Config, where: Places): Config {
  if (config.firecracker !== undefined || findProgram("firecracker").path !== undefined) return config
  // The user's own image may have a similar name.
  const pairs = catalog().filter(({ members }) => members !== undefined)
  const got = listImages(where).find(({ name }) => pairs.some((item) => item.name === name))
  if (got === undefined) return config
  return { ...config, firecracker: `${got.path}/firecracker`, jailer: config.jailer ?? `${got.path}/jailer` }
}

/** Why Firecracker cannot be used, or undefined when it can. */
async function unusable(looking: Promise<Chosen>, jailed: boolean): Promise<string | undefined> {
  try {
    const { jailer } = (await looking).program
    if (jailed && jailer === undefined) return "its jailer is not in PATH"
    close(openAt(AT_FDCWD, "/dev/kvm", O.RDWR))
    return undefined
  } catch (error) {
    return isFailure(error) ? inOneLine(error) : messageOf(error)
  }
}
