import { readdirSync, readFileSync } from "node:fs"
import { dirname } from "node:path"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, openAt, openWithoutSymlinks, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import {
  attachTree,
  cloneTree,
  MOUNT_ATTR,
  makeMount,
  setMountAttributes,
  unescapeMountPath,
  uniqueMountId,
} from "../../base/linux/mounts.ts"
import { mountNamespaceId } from "../../base/linux/namespaces.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { KeptThing } from "../../store/kept/thing.ts"
import { unmountOnly } from "./unmount.ts"

/** A mount on a journal. */
export type KeptMount = Extract<KeptThing, { kind: "mount" }>

/** What is mounted where. */
export interface MountWish {
  readonly target: string
  readonly source: string
  /** Undefined: `source` is a directory, which is seen there too. */
  readonly type?: string | undefined
  readonly options: readonly string[]
  readonly readonly: boolean
}

/** A mount that is not attached yet, so that nobody can reach it, and what attaches it. The caller disposes of it. */
export function planMount({
  target,
  source,
  type,
  options,
  readonly,
}: MountWish): { thing: KeptMount; make: () => KeptMount } & Disposable {
  const attributes = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | (readonly ? MOUNT_ATTR.RDONLY : 0)
  using open = new DisposableStack()
  const held = (fd: number) => {
    open.defer(() => withDescriptor(fd, () => {}))
    return fd
  }
  const place = held(openWithoutSymlinks(target, O.PATH | O_DIRECTORY))
  let tree: number
  if (type === undefined) {
    tree = held(cloneTree(held(openWithoutSymlinks(source, O.PATH | O_DIRECTORY))))
    setMountAttributes(tree, attributes, 0)
  } else tree = held(makeMount({ type, source, options: readonly ? ["ro", ...options] : options, attributes }))
  const { mountId, dev } = statDescriptor(tree)
  const thing = {
    kind: "mount",
    target,
    id: String(mountId),
    fileSystem: dev,
    identity: identityOf(tree),
    namespace: namespaceOf("self"),
  } as const
  const make = () => {
    attachTree(tree, place)
    return thing
  }
  const kept = open.move()
  return { thing, make, [Symbol.dispose]: () => kept.dispose() }
}

/**
 * Where a mount is, in this mount namespace; undefined: it is gone. Throws LIVENESS_UNKNOWN where it is in another namespace that has
 * processes, or that a mount holds.
 */
export function findMount({ id, fileSystem, identity, namespace, target }: KeptMount): string | undefined {
  if (!isSame(namespaceOf("self"), namespace)) {
    const pid = readdirSync("/proc").find((name) => /^\d+$/.test(name) && isIn(name, namespace))
    if (pid === undefined && !isPinned(namespace)) return undefined
    const hint =
      pid === undefined
        ? "unmount what holds that: grep mnt: /proc/self/mountinfo"
        : `look from there: nsenter --mount=/proc/${pid}/ns/mnt banger sweep`
    throw new Failure("LIVENESS_UNKNOWN", "it is in another mount namespace", { hint, subject: target })
  }
  const lines = readFileSync("/proc/self/mountinfo", "latin1").split("\n")
  const fields = lines.map((line) => line.split(" ")).find(([own, , dev]) => own === id && dev === fileSystem)
  const point = fields && decoded(fields[4] ?? "")
  if (point === undefined) return undefined
  const seen = unlessAbsent(
    () =>
      withDescriptor(openWithoutSymlinks(point, O.PATH), (fd) => {
        // Where another is mounted on it, it cannot be seen: then it may be this one.
        return String(statDescriptor(fd).mountId) === id ? identityOf(fd) : identity
      }),
    ["ENOENT", "ENOTDIR", "ELOOP"],
  )
  return seen === undefined || seen === identity ? point : undefined
}

/** Takes a mount off, wherever it has been moved to; another one in its place is not touched. EBUSY while it is in use. */
export function releaseMount(thing: KeptMount): void {
  const point = findMount(thing)
  if (point === undefined) return
  withDescriptor(openWithoutSymlinks(dirname(point), O.PATH | O_DIRECTORY), (parent) =>
    unmountOnly(parent, { ...thing, point }),
  )
}

// --- internal ---

/** An older kernel gives away a mount's id again: there, which directory its root is, and since when. */
function identityOf(fd: number): string {
  const stat = statDescriptor(fd)
  return uniqueMountId(fd) ?? `${inodeOf(stat)} ${stat.btimeMs}`
}

/** `device:inode` of a process's mount namespace, and behind it, where the kernel tells it, the number that no other gets. */
function namespaceOf(pid: string): string {
  return withDescriptor(openAt(AT_FDCWD, `/proc/${pid}/ns/mnt`, O.RDONLY), namespaceAt)
}

function namespaceAt(fd: number): string {
  return [inodeOf(statDescriptor(fd)), mountNamespaceId(fd)].filter((part) => part !== undefined).join(" ")
}

/** An inode's number is given again as soon as its namespace is gone: alone it tells only that two are not the same. */
function isSame(one: string, other: string): boolean {
  const [[inode, id], [otherInode, otherId]] = [one.split(" "), other.split(" ")]
  return inode === otherInode && (id === undefined || otherId === undefined || id === otherId)
}

function isIn(pid: string, namespace: string): boolean {
  const own = unlessAbsent(() => namespaceOf(pid), ["ENOENT", "ESRCH", "EACCES", "EPERM"])
  return own !== undefined && isSame(own, namespace)
}

/** Whether a mount holds a namespace that has no process (unshare(1), `--mount=FILE`): all that is mounted in it stays. */
function isPinned(namespace: string): boolean {
  const root = `mnt:[${namespace.split(" ")[0]?.split(":").at(-1)}]`
  return readFileSync("/proc/self/mountinfo", "latin1")
    .split("\n")
    .map((line) => line.split(" "))
    .some((fields) => fields[3] === root && mayBe(decoded(fields[4] ?? ""), namespace))
}

/** Whether what is mounted on `point` is a namespace; true as well where it cannot be seen, as below another mount. */
function mayBe(point: string, namespace: string): boolean {
  const seen = unlessAbsent(
    () =>
      withDescriptor(openAt(AT_FDCWD, point, O.PATH), (fd) =>
        namespace.split(" ")[0] === inodeOf(statDescriptor(fd))
          ? withDescriptor(openAt(AT_FDCWD, `/proc/self/fd/${fd}`, O.RDONLY), namespaceAt)
          : undefined,
      ),
    ["ENOENT", "ENOTDIR", "EACCES", "EPERM"],
  )
  return seen === undefined || isSame(seen, namespace)
}

/** A path of the mount table; its bytes are UTF-8. */
function decoded(field: string): string {
  return Buffer.from(unescapeMountPath(field), "latin1").toString("utf8")
}
