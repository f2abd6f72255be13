import { chownDescriptor } from "../../base/linux/access.ts"
import { O } from "../../base/linux/constants.ts"
import { readStart } from "../../base/linux/content.ts"
import { openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { LOG, METRICS } from "../../host/firecracker/argv.ts"
import type { Owner } from "../../host/jail/base.ts"
import { ELF_HEAD_BYTES, hasInterpreter } from "../../host/jail/elf.ts"
import { hostLibraries, stageLibraries } from "../../host/jail/libraries.ts"
import { allow, type Jail } from "../../host/jail/makeJail.ts"
import { openSource } from "../../host/jail/stage.ts"
import { stageFile } from "../../host/jail/stageFile.ts"
import type { Program } from "../../host/vmm/vmm.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import type { VmLayout } from "../../store/state/places.ts"

/** The files that Firecracker itself writes: of the VM's directory, by their names in the jail. */
export type OwnFiles = Readonly<Record<string, string>>

/** The files that a spec lets Firecracker write. Pure. */
export function ownFiles(layout: VmLayout, { metrics }: Spec["firecracker"]): OwnFiles {
  return { [LOG]: layout.firecrackerLog, ...(metrics === true ? { [METRICS]: layout.firecrackerMetrics } : {}) }
}

/** Makes such a file, empty: before 1.14 Firecracker makes none. */
export function makeOwnFile(path: string, owner?: Owner): void {
  withDescriptor(openAt(AT_FDCWD, path, O.WRONLY | O.CREAT | O.EXCL, 0o600), (fd) => {
    if (owner !== undefined) chownDescriptor(fd, owner.uid, owner.gid)
  })
}

/**
 * Makes a jail ready for Firecracker, whose jailer adds the program and the devices. The files that Firecracker writes are
 * in the VM's directory, where the VM's uid cannot change their names, and are bound into the jail.
 */
export async function stageForFirecracker(
  jail: Jail,
  files: OwnFiles,
  { program, signal }: { readonly program: Program; readonly signal: AbortSignal },
): Promise<void> {
  for (const what of ["programs", "devices"] as const) allow(jail, what)
  for (const [name, path] of Object.entries(files)) {
    makeOwnFile(path, jail.owner)
    await stageFile(jail, name, path, { readonly: false, way: "bind", signal })
  }
  if (needsLibraries(program)) stageLibraries(jail)
}

/** Throws HOST_LACKS where a program needs libraries of this host that a jail cannot have. Nothing is made. */
export function requireLibraries(program: Program): void {
  if (needsLibraries(program)) hostLibraries()
}

// --- internal ---

function needsLibraries({ path }: Program): boolean {
  return withDescriptor(openSource(path), (fd) => hasInterpreter(readStart(fd, ELF_HEAD_BYTES)))
}
