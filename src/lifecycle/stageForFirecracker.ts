import type { Owner } from "../jail/base.ts"
import { ELF_HEAD, hasInterpreter } from "../jail/elf.ts"
import { allow, type Jail } from "../jail/makeJail.ts"
import { stageLibraries } from "../jail/programs.ts"
import { openSource } from "../jail/stage.ts"
import { stageFile } from "../jail/stageFile.ts"
import { chownDescriptor } from "../linux/access.ts"
import { O } from "../linux/constants.ts"
import { readStart } from "../linux/content.ts"
import { openAt, withDescriptor } from "../linux/files.ts"
import { AT_FDCWD } from "../linux/guards.ts"
import type { Spec } from "../plugin/spec.ts"
import type { VmLayout } from "../state/places.ts"
import { LOG, METRICS } from "../vmm/firecrackerArgv.ts"
import type { Program } from "../vmm/vmm.ts"

/** What Firecracker itself writes: by its name in a jail, the file of the VM's directory. */
export type OwnFiles = Readonly<Record<string, string>>

/** What a spec lets Firecracker write. Pure. */
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
 * Makes a jail ready for Firecracker. Its jailer makes the program's copy and the devices by itself. What it writes are
 * files of the VM's directory, whose names the VM's uid cannot change, bound into the jail.
 */
export async function stageForFirecracker(
  jail: Jail,
  files: OwnFiles,
  program: Program,
  signal: AbortSignal,
): Promise<void> {
  for (const what of ["programs", "devices"] as const) allow(jail, what)
  for (const [name, path] of Object.entries(files)) {
    makeOwnFile(path, jail.owner)
    await stageFile(jail, name, path, { readonly: false, way: "bind" }, signal)
  }
  const dynamic = withDescriptor(openSource(program.path), (fd) => hasInterpreter(readStart(fd, ELF_HEAD)))
  if (dynamic) stageLibraries(jail)
}
