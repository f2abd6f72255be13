import { realpathSync } from "node:fs"
import { S } from "../../base/linux/constants.ts"
import { isType } from "../../base/linux/files.ts"
import { SUN_PATH_MAX } from "../../base/linux/structs.ts"
import { inOneLine, isFailure, messageOf } from "../../base/terms/failure.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { fileSystemNamed } from "../../host/sockets/fileSystems.ts"
import { trustedWay } from "../../store/files/trustedWay.ts"
import { type VmLayout, vmLayout } from "../../store/state/places.ts"
import { type Finding, fail, ok, unknown, warn } from "./finding.ts"
import { type Host, nearestDirectory } from "./host.ts"

/** The longest id that `newVmId` makes. */
const LONGEST_ID = "x".repeat(28)

/** With less free space than the first, a host is warned; with less than the second, a start may not even log. In bytes. */
const LOW_SPACE_BYTES = 1024 ** 3
const NO_SPACE_BYTES = 64 * 1024 ** 2
const FEW_INODES_COUNT = 1000

/** File systems by their magic number (statfs(2)) that are not this host's own, or not what they seem. */
const ODD: Readonly<Record<number, string>> = {
  26985: "NFS",
  2035054128: "overlayfs",
  1702057286: "FUSE",
  4266872130: "SMB",
  4283649346: "SMB",
  16914839: "9p",
  12805120: "Ceph",
}

/** Whether the directories, those that exist, are this user's alone. */
export function checkDirectories(host: Host): Finding {
  const { state, runtime, config } = host.places
  for (const path of [state, runtime]) {
    const found = wrongDirectory(host, path)
    if (found !== undefined) return found
  }
  const stat = host.stat(config)
  if (stat !== undefined && host.uid === 0) {
    if (stat.uid !== 0) return fail(`${config} belongs to uid ${stat.uid}`, shellWords(["chown", "root", config]))
    if ((stat.mode & 0o022) !== 0)
      return fail(`${config} can be written by others`, shellWords(["chmod", "go-w", config]))
  }
  return ok(`${state} and ${runtime} are ${host.uid === 0 ? "root's" : "yours"} alone, or will be made so`)
}

/** Whether every socket path fits into what the kernel takes. */
export function checkSocketPaths({ places, uid }: Host): Finding {
  const layout = vmLayout(places, LONGEST_ID)
  const [variable, longest] = longestSocket(layout, uid === 0)
  const length = Buffer.byteLength(longest)
  const says = `socket paths have up to ${length} bytes of the ${SUN_PATH_MAX} that there may be`
  if (length <= SUN_PATH_MAX) return ok(says)
  return fail(
    `${says}: ${longest}`,
    `set ${variable} to a directory whose path is ${length - SUN_PATH_MAX} bytes shorter`,
  )
}

/** How the file system that jails and downloads are on is mounted, and what kind it is. */
export function checkJailFileSystem(host: Host): Finding {
  const place = nearestDirectory(host, host.places.state)
  const options = optionsOf(host.read("/proc/self/mountinfo") ?? "", realpathSync(place))
  if (options === undefined) return unknown(`it is not known what ${place} is mounted from`)
  const kind = ODD[host.room(place).type]
  const elsewhere = "set BANGER_STATE_DIR to a directory of a local disk (ext4, xfs, btrfs)"
  if (options.has("ro")) return fail(`${place} is mounted read-only`, elsewhere)
  if (kind !== undefined)
    return warn(`${place} is on ${kind}: jails are slower there, and sweep does not work`, elsewhere)
  const strict = ["noexec", "nodev"].filter((name) => options.has(name))
  if (strict.length === 0) return ok(`${place}: neither noexec nor nodev`)
  const says = `${place} is mounted ${strict.join(", ")}: each jail gets a mount of its own without that, which a container may forbid`
  return warn(says, `${elsewhere}, or: mount -o remount,exec,dev ${options.point}`)
}

/** Whether dead sockets in the runtime directory can be told from live ones. */
export function checkRuntimeFileSystem(host: Host): Finding {
  const place = nearestDirectory(host, host.places.runtime)
  const { name, allowed } = fileSystemNamed(host.room(place).type)
  if (allowed) return ok(`${place} is on ${name}, where a sweep can tell dead sockets`)
  const says = `${place} is on ${name}, where a sweep can tell no dead socket and spares them all; those of VMs go with their VMs`
  return warn(says, "set BANGER_RUNTIME_DIR to a directory of a tmpfs: BANGER_RUNTIME_DIR=/dev/shm/banger")
}

/** Whether a writable drive can be staged without copying it. */
export function checkReflinks(host: Host): Finding {
  const place = nearestDirectory(host, host.places.state)
  if (host.clones(place)) return ok(`${place} shares blocks between files: writable drives are staged at once`)
  const hint = "put BANGER_STATE_DIR, and the images, on btrfs, or on xfs made by mkfs.xfs -m reflink=1"
  return warn(`${place} cannot share blocks between files: each start copies the writable drives' data`, hint)
}

/** Whether images, which `banger get` puts beside the jails, are on the jails' file system. */
export function checkSameFileSystem(host: Host): Finding {
  const { state } = host.places
  const [images, jails] = [host.stat(`${state}/images`), host.stat(`${state}/jail`)]
  if (images === undefined || jails === undefined || images.dev === jails.dev)
    return ok("jails and images are on one file system")
  const says = `${state}/images and ${state}/jail are on two file systems: writable drives cannot be shared blocks, only copied`
  return warn(says, `have both on one file system: umount one of them, and copy what is in it into ${state}`)
}

/** Whether there is room for logs, jails and sockets. */
export function checkSpace(host: Host): Finding {
  const places = [host.places.state, host.places.runtime].map((path) => nearestDirectory(host, path))
  const rooms = [...new Set(places)].map((place) => ({ place, ...host.room(place) }))
  for (const { place, bytes, files, type } of rooms) {
    // btrfs has no count of free files.
    const few = files < FEW_INODES_COUNT && type !== 0x9123683e
    const hint = `free some: ${shellWords(["df", place])}; ${shellWords(["df", "-i", place])}; banger rm for VMs that ended, banger get rm for images`
    if (bytes < NO_SPACE_BYTES || (few && files < 20))
      return fail(`${place} is full: ${formatSize(bytes)}, ${files} files left`, hint)
    // Sockets need next to nothing.
    if ((place !== places[1] || places[0] === places[1]) && (bytes < LOW_SPACE_BYTES || few))
      return warn(`${place} has little room: ${formatSize(bytes)}, ${files} files left`, hint)
  }
  return ok(rooms.map(({ place, bytes }) => `${place} has ${formatSize(bytes)} free`).join(", "))
}

// --- internal ---

function wrongDirectory(host: Host, path: string): Finding | undefined {
  const wrong = wayFinding(path)
  if (wrong !== undefined) return wrong
  const own = host.stat(path)
  if (own === undefined) return cannotMake(host, path)
  if (!isType(own, S.IFDIR)) return fail(`${path} is not a directory`, shellWords(["mv", path, `${path}.away`]))
  if (own.uid !== host.uid)
    return fail(
      `${path} belongs to uid ${own.uid}, not to uid ${host.uid}`,
      shellWords(["chown", String(host.uid), path]),
    )
  const allowed = host.uid === 0 ? 0o711 : 0o700
  if ((own.mode & 0o777 & ~allowed) !== 0) {
    return fail(
      `${path} is open to others (mode ${(own.mode & 0o7777).toString(8)})`,
      shellWords(["chmod", (0o1000 | allowed).toString(8), path]),
    )
  }
  return undefined
}

/** What makes the way to a directory unfit, as every command that would use it says. */
function wayFinding(path: string): Finding | undefined {
  try {
    trustedWay(path)
    return undefined
  } catch (error) {
    if (isFailure(error)) return fail(inOneLine(error), error.hint?.replace(/^run: /, ""))
    return fail(`${path} cannot be looked at: ${messageOf(error)}`, PLACES_HINT)
  }
}

const PLACES_HINT = "set BANGER_STATE_DIR and BANGER_RUNTIME_DIR to directories of your own"

function cannotMake(host: Host, path: string): Finding | undefined {
  const parent = nearestDirectory(host, path)
  if (host.writable(parent)) return undefined
  const variable = path === host.places.state ? "BANGER_STATE_DIR" : "BANGER_RUNTIME_DIR"
  return fail(`${path} cannot be made: ${parent} cannot be written`, `set ${variable} to a directory of your own`)
}

function longestSocket({ qmpSocket, jails, id }: VmLayout, root: boolean): readonly [variable: string, path: string] {
  const jailed = `${jails}/firecracker/${id}/root/api.sock`
  if (root && Buffer.byteLength(jailed) > Buffer.byteLength(qmpSocket)) return ["BANGER_STATE_DIR", jailed]
  return ["BANGER_RUNTIME_DIR", qmpSocket]
}

interface MountOptions {
  readonly point: string
  has(option: string): boolean
}

/** The options of the mount that a path is on: of the longest mount point above it, the one mounted last. */
function optionsOf(mountinfo: string, path: string): MountOptions | undefined {
  const mounts = mountinfo.split("\n").flatMap((line) => {
    const [left = "", right = ""] = line.split(" - ")
    const [, , , , point, options = ""] = left.split(" ")
    return point === undefined
      ? []
      : [{ point, options: [...options.split(","), ...(right.split(" ")[2] ?? "").split(",")] }]
  })
  const above = mounts.filter(({ point }) => point === "/" || path === point || path.startsWith(`${point}/`))
  const longest = Math.max(...above.map(({ point }) => point.length))
  const found = above.findLast(({ point }) => point.length === longest)
  return found && { point: found.point, has: (option) => found.options.includes(option) }
}
