import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { inodeOf, openBeneath, openBeneathMounts, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { attachTree, cloneTree, MOUNT_ATTR, setMountAttributes } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"

/** What is bound is never used as a device, a program or a setuid program, and never followed as a symlink. */
export const BOUND_ATTRIBUTES = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC | MOUNT_ATTR.NOSYMFOLLOW

/** A name in a directory of a jail. */
export interface JailEntry {
  readonly dir: number
  readonly name: string
}

/**
 * Mounts the inode of `source` on a file or directory of a jail. The mount has its attributes before it can be reached,
 * and what is mounted is checked to be that inode. Both ends are inodes, not names: a symlink, or something of another
 * type, in the place of `name` is refused.
 */
export function bindAt(source: number, { dir, name }: JailEntry, attributes: number): void {
  const from = statDescriptor(source)
  withDescriptor(cloneTree(source), (tree) => {
    setMountAttributes(tree, attributes, 0)
    withDescriptor(openBeneath(dir, name, O.PATH | O_NOFOLLOW), (target) => {
      const to = statDescriptor(target)
      if ((to.mode & S.IFMT) !== (from.mode & S.IFMT))
        throw new Failure("CHANGED", `${name}: its place in the jail has another type`, { subject: name })
      attachTree(tree, target)
    })
  })
  withDescriptor(openBeneathMounts(dir, name, O.PATH | O_NOFOLLOW), (mounted) => {
    const now = statDescriptor(mounted)
    const same = inodeOf(now) === inodeOf(from) && now.mountId !== statDescriptor(dir).mountId
    if (!same)
      throw new Failure("CHANGED", `${name}: something else is mounted in its place in the jail`, { subject: name })
  })
}
