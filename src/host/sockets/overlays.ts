import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import {
  inodeOf,
  openAt,
  openWithoutSymlinks,
  statDescriptor,
  statPath,
  withDescriptor,
} from "../../base/linux/files.ts"
import { unescapeMountPath } from "../../base/linux/mounts.ts"

/**
 * The layers of every overlay that this process can know of: `device:inode` of each upper and lower directory, from the
 * mount tables of all mount namespaces that /proc shows. A socket that was bound through an overlay is bound to the
 * overlay's inode; seen in the layer that stores it, it looks dead.
 */
export function overlayLayers(): ReadonlySet<string> {
  const layers = new Set<string>()
  const seen = new Set<string>()
  for (const pid of ["self", ...readdirSync("/proc").filter((name) => /^\d+$/.test(name))]) {
    // The table of a chrooted process has only the mounts below its root.
    const view = quietly(() => `${readlinkSync(`/proc/${pid}/ns/mnt`)} ${readlinkSync(`/proc/${pid}/root`)}`)
    if (view === undefined || seen.has(view)) continue
    seen.add(view)
    for (const path of layersIn(quietly(() => readFileSync(`/proc/${pid}/mountinfo`, "latin1")) ?? "")) {
      // As its own namespace names it, and as ours does: it may have been mounted from either.
      for (const root of [`/proc/${pid}/root`, ""]) {
        const inode = quietly(() => inodeOf(statPath(Buffer.from(root + path, "latin1"))))
        if (inode !== undefined) layers.add(inode)
      }
    }
  }
  return layers
}

/** The absolute paths of layers in a mountinfo text (proc_pid_mountinfo(5)), as latin1. Pure. */
export function layersIn(mountinfo: string): readonly string[] {
  if (!mountinfo.includes(" - overlay ")) return []
  return mountinfo.split("\n").flatMap((line) => {
    const [kind, , options = ""] = line.split(" - ")[1]?.split(" ") ?? []
    if (kind !== "overlay") return []
    return options
      .split(",")
      .flatMap((option) => /^(?:upperdir|lowerdir\+?|datadir\+)=(.*)$/.exec(option)?.[1]?.split(LAYERS) ?? [])
      .map((path) => unescapeMountPath(path).replaceAll("\\:", ":"))
      .filter((path) => path.startsWith("/"))
  })
}

/** Whether a directory, or one above it, is such a layer; also when it is reached through a bind mount. */
export function isInLayer(dir: number, layers: ReadonlySet<string>): boolean {
  if (layers.size === 0) return false
  if (climb(dir, layers)) return true
  return otherWaysTo(statDescriptor(dir).mountId, readFileSync("/proc/self/mountinfo", "latin1")).some((path) => {
    const fd = quietly(() => openWithoutSymlinks(Buffer.from(path, "latin1"), O.PATH | O_DIRECTORY))
    return fd !== undefined && withDescriptor(fd, () => climb(fd, layers))
  })
}

/** The other paths to the root of a mount: through the other mounts of its file system. Pure. */
export function otherWaysTo(mountId: bigint, mountinfo: string): readonly string[] {
  const mounts = mountinfo.split("\n").map((line) => {
    const [id = "", , dev = "", root = "", point = ""] = line.split(" ")
    return { id, dev, root: unescapeMountPath(root), point: unescapeMountPath(point) }
  })
  const own = mounts.find(({ id }) => id === String(mountId))
  if (own === undefined || own.root === "/") return []
  return mounts
    .filter(({ id, dev }) => id !== own.id && dev === own.dev)
    .filter(({ root }) => root === "/" || own.root === root || own.root.startsWith(`${root}/`))
    .map(({ root, point }) => `${point === "/" ? "" : point}${root === "/" ? own.root : own.root.slice(root.length)}`)
}

// --- internal ---

/** Between layers there are one or two colons; one that belongs to a path is `\072`, or `\134:` before Linux 6.5. */
const LAYERS = /(?<!\\134):+/

/** Whether a directory or one above it is a layer; `..` of the root is the root itself. */
function climb(dir: number, layers: ReadonlySet<string>): boolean {
  const stat = statDescriptor(dir)
  if (layers.has(inodeOf(stat))) return true
  return withDescriptor(openAt(dir, "..", O.PATH | O_DIRECTORY), (above) => {
    const higher = statDescriptor(above)
    if (inodeOf(higher) === inodeOf(stat) && higher.mountId === stat.mountId) return false
    return climb(above, layers)
  })
}

/** Undefined where a process has ended, is not ours to examine, or names a path that we do not have. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}
