import { chmodDescriptor, chownDescriptor } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { close, inodeOf, mkdirAt, openBeneath, renameNoReplace, statDescriptor } from "../../base/linux/files.ts"
import { attachTree, cloneTree, MOUNT_ATTR, setMountAttributes } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"
import { hostPath, inJail } from "../../base/terms/path.ts"
import { ensureDirectory, type JailSite, jailRoot, type Owner, openBase, stageName } from "./base.ts"
import type { StageRoot } from "./stage.ts"

// The room jail: makes the chroot of one VMM, puts files into it, and takes it away.
// The rule: the VM's uid may have put anything under any name in the jail. So root uses no path inside it: what is there is
// opened once, verified by its descriptor, and acted on by that descriptor.

/** A jail that is being made, in a directory that is root's alone until `place`. */
export interface Jail extends StageRoot {
  readonly owner: Owner
  /** Gives the jail to its owner and moves it to its place, complete. Throws a failure when the id is in use. */
  place(): void
  /** Closes its descriptors; what was made stays. */
  close(): void
}

/**
 * Begins a jail in a staging directory (0700) of the base: a root directory that is mounted on itself, private and nosuid,
 * with neither devices nor programs until `allow` permits them. `onRoot` hears the root's `device:inode` before anything
 * is mounted or staged, and writes it down: `tearDown` needs it.
 */
export function makeJail(site: JailSite, owner: Owner, onRoot: (inode: string) => void): Jail {
  const opened: number[] = []
  const keep = (fd: number) => {
    opened.push(fd)
    return fd
  }
  const closeAll = () => opened.splice(0).forEach(close)
  try {
    const base = keep(openBase(site.base))
    const vmm = keep(ensureDirectory(base, site.vmm, 0o711))
    const outer = keep(makePrivate(base, stageName(site.id)))
    const root = keep(makePrivate(outer, "root"))
    onRoot(inodeOf(statDescriptor(root)))
    const tree = keep(cloneTree(root))
    setMountAttributes(tree, NOSUID | NODEV | NOEXEC, RDONLY)
    attachTree(tree, root)
    const place = () => {
      chmodDescriptor(outer, 0o711)
      chownDescriptor(root, owner.uid, owner.gid)
      moveInto(base, vmm, site)
    }
    const path = jailRoot(site)
    return {
      path,
      now: hostPath(`${site.base}/${stageName(site.id)}/root`),
      placed: (name) => inJail(path, name),
      fd: tree,
      plain: root,
      owner,
      place,
      close: closeAll,
    }
  } catch (error) {
    closeAll()
    throw error
  }
}

/** Permits device nodes, or programs, in a jail's root, even where its file system is mounted nodev or noexec. */
export function allow(jail: Pick<Jail, "fd">, what: "devices" | "programs"): void {
  setMountAttributes(jail.fd, 0, what === "devices" ? NODEV : NOEXEC)
}

// --- internal ---

const { NOSUID, NODEV, NOEXEC, RDONLY } = MOUNT_ATTR

/** Makes a directory and opens it (O_PATH). Nobody can have swapped it: its parent is root's alone. */
function makePrivate(parent: number, name: string): number {
  try {
    mkdirAt(parent, name, 0o700)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    throw new Failure("IN_USE", `${name} is there already, from a start that was cut short`, {
      hint: "banger sweep removes what such a start has left",
      subject: name,
      cause: error,
    })
  }
  return openBeneath(parent, name, O.PATH | O_DIRECTORY | O_NOFOLLOW)
}

function moveInto(base: number, vmm: number, { id, ...site }: JailSite): void {
  try {
    renameNoReplace(base, stageName(id), vmm, id)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    const hint = `look at ${site.base}/${site.vmm}/${id}; if its VM has ended: banger rm -f ${id}`
    throw new Failure("IN_USE", `the jail of ${id} is there already`, { hint, subject: id, cause: error })
  }
}
