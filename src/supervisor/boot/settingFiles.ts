import { type Stats, statSync } from "node:fs"
import { O } from "../../base/linux/constants.ts"
import { setLength } from "../../base/linux/content.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { openBeneath, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import type { Owner } from "../../host/jail/base.ts"
import type { Jail } from "../../host/jail/makeJail.ts"
import { stageFile } from "../../host/jail/stageFile.ts"
import { bindSocket, requireConnectable } from "../../host/jail/userSockets.ts"
import { requireElfKernel } from "../../inputs/kernel/elfKernel.ts"
import { requireKernel } from "../../inputs/kernel/kernelFormat.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { IN_JAIL, seenSettings } from "./plan.ts"

type Settings = Spec["firecracker"]

/** A persistent memory is given to a guest by this much (docs/pmem.md of Firecracker 1.16). */
const PMEM_UNIT_BYTES = 2 * 1024 * 1024

/**
 * Throws a failure that names the setting unless Firecracker can use what its settings name: a file whose every byte a guest
 * can keep, a socket that the VMM may connect to. `owner`: the jail's, undefined without one. Nothing is made.
 */
export function requireSettingFiles({ pmem = [], vhost_user = [] }: Settings, owner: Owner | undefined): void {
  for (const [index, { path, read_only }] of pmem.entries()) {
    const named = { setting: `firecracker.pmem[${index}].path`, path }
    const stat = statOf(named)
    if (!stat.isFile()) throw bad(named, "is not a regular file")
    if (stat.size === 0) throw bad(named, "is empty", "it needs a size: truncate -s SIZE makes one of zeros")
    // The jail's own copy is padded; what is never written loses nothing.
    if (owner !== undefined || read_only === true || stat.size % PMEM_UNIT_BYTES === 0) continue
    const hint = `pad it with zeros: ${shellWords(["truncate", "-s", "%2M", path])}; or set read_only`
    throw bad(named, "is no multiple of 2 MiB: what the guest wrote behind its end would be lost", hint)
  }
  for (const [index, { socket }] of vhost_user.entries()) {
    const named = { setting: `firecracker.vhost_user[${index}].socket`, path: socket }
    const stat = statOf(named)
    if (!stat.isSocket()) throw bad(named, "is not a socket")
    if (owner !== undefined) requireConnectable(named, stat, owner)
  }
}

/** Puts the files and sockets of Firecracker's settings into a jail, and returns the settings as the VMM sees them. */
export async function stageSettings(jail: Jail, settings: Settings, signal: AbortSignal): Promise<Settings> {
  for (const [index, { path, read_only = false }] of (settings.pmem ?? []).entries()) {
    const { way } = await stageFile(jail, IN_JAIL.pmem(index), path, { readonly: read_only, way: undefined, signal })
    if (way === "clone" || way === "copy") withDescriptor(openBeneath(jail.fd, IN_JAIL.pmem(index), O.RDWR), padPmem)
  }
  for (const [index, { socket }] of (settings.vhost_user ?? []).entries())
    bindSocket(jail, IN_JAIL.vhostUser(index), { path: socket, setting: `firecracker.vhost_user[${index}].socket` })
  return seenSettings(settings, jail.path)
}

/**
 * Throws a failure, with what to do, for a kernel that this VMM surely cannot start on this host, or that cannot be unpacked for it here.
 * `kernels`: where those are that were unpacked before. Nothing is made.
 */
export async function requireKernelFor(
  { kernel }: Pick<Spec, "kernel">,
  vmm: "firecracker" | "qemu",
  kernels: string,
): Promise<void> {
  requireKernel(kernel, { vmm, arch: process.arch === "arm64" ? "arm64" : "x64" })
  if (needsElf(vmm)) await requireElfKernel(kernel, kernels)
}

/** Whether a VMM starts nothing but plain ELF on this host. */
export function needsElf(vmm: "firecracker" | "qemu"): boolean {
  return vmm === "firecracker" && process.arch === "x64"
}

// --- internal ---

/** A file or socket, and the setting that names it. */
interface Named {
  readonly setting: string
  readonly path: string
}

function bad({ setting, path }: Named, words: string, hint?: string): Failure {
  return new Failure("BAD_FILE", `${setting}: ${path} ${words}`, { hint, subject: path })
}

function statOf({ setting, path }: Named): Stats {
  try {
    return statSync(path)
  } catch (error) {
    const code = errorCode(error)
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error
    throw new Failure("BAD_FILE", `${setting}: there is no ${path}`, { subject: path, cause: error })
  }
}

function padPmem(fd: number): void {
  const { size } = statDescriptor(fd)
  const whole = Math.ceil(size / PMEM_UNIT_BYTES) * PMEM_UNIT_BYTES
  if (whole !== size) setLength(fd, whole)
}
