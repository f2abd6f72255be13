import { Failure, inOneLine, isFailure, messageOf } from "../../base/terms/failure.ts"
import { once } from "../../base/terms/once.ts"
import type { Judgement } from "../../host/kvm/judge.ts"
import type { Accel, Chosen, Program } from "../../host/vmm/vmm.ts"
import { catalog } from "../../inputs/image/catalog.ts"
import { listImages } from "../../inputs/image/store.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { inFirstUserNamespace } from "../../store/files/idMap.ts"
import { findProgram } from "../../store/files/programs.ts"
import { type Config, configured, readConfig } from "../../store/state/config.ts"
import { placesOf } from "../../store/state/open.ts"
import type { Places } from "../../store/state/places.ts"

/** What a spec says of its VMM. */
export type Wanted = Pick<Spec, "vmm" | "accel">

/** Why a VMM, or KVM, is not taken, and what mends it. */
export interface Obstacle {
  readonly words: string
  readonly hint: string | undefined
}

/** A VMM that was chosen, and how the guest's processors run. */
export interface Choice extends Chosen {
  readonly accel: Accel
  /** Why it is not the best there is, where nobody has asked for just this. */
  readonly because?: Obstacle | undefined
}

/** The VMMs of this host, which are being searched for. */
export interface Candidates {
  /** The VMM that a spec asks for, or the best there is. Throws a failure that says how to get one. */
  choose(wanted: Wanted, jailed: boolean): Promise<Choice>
  /** A VMM's program. Throws a failure that says how to get it. */
  find(vmm: "firecracker" | "qemu"): Promise<Program>
}

/**
 * Begins to search for the likelier VMM, so that its version is known when it is needed: Firecracker, where there is one.
 * The other is searched for on demand. `bySudo`: for a user whom root runs a VM for, and who has QEMU only where root's
 * configuration says so.
 */
export function findCandidates(
  asker: "start" | "look" = "start",
  { bySudo = false }: { readonly bySudo?: boolean } = {},
): Candidates {
  const where = placesOf(process.env)
  const config = { ...withFound(programsOf(where.config), where), state: where.state }
  const finders: Finders = {
    qemu: once(async () => {
      if (bySudo && !config.sudoQemu) throw qemuBySudo(where.config)
      const { qemu } = await import("../../host/qemu/qemu.ts")
      return { vmm: qemu, program: await qemu.find(config) }
    }),
    firecracker: once(async () => {
      const { firecracker } = await import("../../host/firecracker/firecracker.ts")
      return { vmm: firecracker, program: await firecracker.find(config) }
    }),
    judge: async (vmm) => {
      const { judgeThisKvm } = await import("../../host/kvm/thisHost.ts")
      return judgeThisKvm(where, vmm, asker)
    },
  }
  // Whoever awaits it sees its failure; it may never be awaited.
  const early = config.firecracker === undefined ? finders.qemu() : finders.firecracker()
  early.catch(() => {})
  return {
    find: async (vmm) => (await finders[vmm]()).program,
    choose: (wanted, jailed) => chooseVmm(finders, { ...wanted, configured: config.accel ?? "auto", jailed }),
  }
}

/** Where a choice is made between: two programs, and a KVM as each would use it. */
export interface Finders {
  readonly qemu: () => Promise<Chosen>
  readonly firecracker: () => Promise<Chosen>
  readonly judge: (vmm: "firecracker" | "qemu") => Promise<Judgement>
}

/**
 * Chooses as a spec, and the configuration where the spec leaves it open, have it. Throws a failure when what is insisted on
 * cannot be had.
 */
export async function chooseVmm(
  { qemu, firecracker, judge }: Finders,
  { vmm, accel: own, configured, jailed }: Wanted & { readonly configured: Spec["accel"]; readonly jailed: boolean },
): Promise<Choice> {
  const accel = own === "auto" ? configured : own
  if (vmm === "firecracker") {
    if (own === "tcg") throw onlyByKvm()
    if (jailed && !inFirstUserNamespace())
      throw new Failure("HOST_LACKS", NO_NODES.words, { hint: NO_NODES.hint, subject: "jail" })
    return { ...(await firecracker()), accel: "kvm" }
  }
  // Nobody runs Firecracker who insists on emulation.
  const because = vmm === "qemu" || accel === "tcg" ? undefined : await obstacleTo(firecracker, { judge, jailed })
  if (vmm === "auto" && accel !== "tcg" && because === undefined) return { ...(await firecracker()), accel: "kvm" }
  const chosen = await orNeither(qemu, because)
  const how = await accelOf(accel, judge)
  const program = { ...chosen.program, accel: how.accel }
  // Without KVM there would be no Firecracker either.
  return { vmm: chosen.vmm, program, accel: how.accel, because: how.because ?? because }
}

/** The one line on what `auto` has taken and why; undefined where it has taken the best, or nothing was left to it. Pure. */
export function noticeOf({
  vmm,
  accel,
  because,
}: Pick<Choice, "accel" | "because"> & { readonly vmm: { readonly name: string } }): string | undefined {
  if (because === undefined || vmm.name !== "qemu") return undefined
  const how = accel === "kvm" ? "by KVM" : "emulated and slowly"
  // In one line there is room for the first way that a hint names.
  const [mends] = because.hint?.replace(/^run: /, "").split("; or ") ?? []
  return `QEMU runs this VM, ${how}: ${because.words}${mends === undefined ? "" : ` (${mends})`}`
}

// --- internal ---

/** Of a user namespace whose root is not the host's. */
const NO_NODES = {
  words: "Firecracker's jailer cannot make device nodes as root of a user namespace",
  hint: 'vmm: "qemu", or jail: false',
}

function programsOf(path: string): Config {
  const config = readConfig(path)
  const program = (key: "firecracker" | "jailer" | "qemu") => configured(config, key, path)
  const { accel, sudoQemu } = config
  const programs = { firecracker: program("firecracker"), jailer: program("jailer"), qemu: program("qemu") }
  return { accel, sudoQemu, ...programs }
}

/**
 * With the Firecracker of PATH, where the configuration names none; or with the pair that `banger get` has downloaded, if any: also where
 * root would have Firecracker without its jailer.
 */
function withFound(config: Config, where: Places): Config {
  const firecracker = config.firecracker ?? findProgram("firecracker").path
  const whole = config.firecracker ?? config.jailer ?? (isRoot() ? findProgram("jailer").path : firecracker)
  if (firecracker !== undefined && whole !== undefined) return { ...config, firecracker }
  // The user's own image may have a similar name.
  const pairs = catalog().filter(({ members }) => members !== undefined)
  const got = listImages(where).find(({ name }) => pairs.some((item) => item.name === name))
  if (got === undefined) return { ...config, firecracker }
  return { ...config, firecracker: `${got.path}/firecracker`, jailer: config.jailer ?? `${got.path}/jailer` }
}

const isRoot = () => process.geteuid?.() === 0

/** Why `auto` does not take Firecracker, or undefined when it does. */
async function obstacleTo(
  firecracker: Finders["firecracker"],
  { judge, jailed }: Pick<Finders, "judge"> & { readonly jailed: boolean },
): Promise<Obstacle | undefined> {
  try {
    if (jailed && !inFirstUserNamespace()) return NO_NODES
    const { jailer } = (await firecracker()).program
    if (jailed && jailer === undefined)
      return { words: "Firecracker's jailer is not in PATH", hint: "banger get firecracker" }
    const judged = await judge("firecracker")
    return judged.is === "unusable" ? { words: judged.words, hint: judged.hint } : undefined
  } catch (error) {
    return isFailure(error) ? { words: error.message, hint: error.hint } : { words: messageOf(error), hint: undefined }
  }
}

async function accelOf(accel: Spec["accel"], judge: Finders["judge"]): Promise<Pick<Choice, "accel" | "because">> {
  if (accel === "tcg") return { accel }
  const judged = await judge("qemu")
  if (judged.is === "usable") return { accel: "kvm" }
  const { words, hint } = { hint: undefined, ...judged }
  if (accel === "auto") return { accel: "tcg", because: { words, hint } }
  // Who insists has what cannot be told tried.
  if (judged.is === "unknown") return { accel: "kvm" }
  const detail = { hint: hint ?? 'use accel: "auto", which emulates here', subject: "accel" }
  throw new Failure("HOST_LACKS", `accel is "kvm", and KVM cannot be used: ${words}`, detail)
}

async function orNeither(qemu: Finders["qemu"], because: Obstacle | undefined): Promise<Chosen> {
  try {
    return await qemu()
  } catch (error) {
    if (because === undefined) throw error
    const words = isFailure(error) ? inOneLine(error) : messageOf(error)
    const why = because.hint === undefined ? because.words : `${because.words} (${because.hint})`
    const message = `no VMM can be used here\nfirecracker: ${why}\nqemu: ${words}`
    const code = isFailure(error) && error.code === "NEEDS_ROOT" ? error.code : "HOST_LACKS"
    throw new Failure(code, message, { subject: "vmm", cause: error })
  }
}

/** QEMU takes a kernel apart as root, before it gives its rights up: what a user brings is not to meet that by root's leave alone. */
function qemuBySudo(config: string): Failure {
  const hint = `use vmm: "firecracker"; or root allows it: sudoQemu = true in ${config}`
  const message = "vmm: by sudo there is no QEMU, which reads kernels as root"
  return new Failure("NEEDS_ROOT", message, { hint, subject: "vmm" })
}

function onlyByKvm(): Failure {
  const detail = { hint: 'use vmm: "qemu", or leave accel out', subject: "accel" }
  return new Failure("UNSUPPORTED", 'accel is "tcg", and Firecracker runs guests by KVM only', detail)
}
