/** Writes the cpio format "newc", which the kernel unpacks as an initramfs (Documentation/driver-api/early-userspace). */

export type CpioEntry =
  | { path: string; type: "directory"; mode?: number }
  | { path: string; type: "file"; mode?: number; data: Uint8Array }
  | { path: string; type: "symlink"; target: string }
  | { path: string; type: "device"; mode?: number; major: number; minor: number }

const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000, device: 0o020000 }
const defaultMode = { directory: 0o755, file: 0o644, symlink: 0o777, device: 0o600 }

/** The same entries give the same bytes, in whatever order they come: sorted, dated 1970, owned by root. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
  const parts: Uint8Array[] = []
  sorted.forEach((entry, index) => {
    if (entry.path === sorted[index - 1]?.path) throw new Error(`the archive has two entries named ${entry.path}`)
    parts.push(...member(entry, index + 1))
  })
  parts.push(...trailer())
  return padTo(Bun.concatArrayBuffers(parts, Number.MAX_SAFE_INTEGER, true), 512)
}

// --- internal ---

function member(entry: CpioEntry, ino: number): Uint8Array[] {
  const mode = "mode" in entry && entry.mode !== undefined ? entry.mode : defaultMode[entry.type]
  const data = content(entry)
  const device = entry.type === "device" ? [entry.major, entry.minor] : [0, 0]
  const links = entry.type === "directory" ? 2 : 1
  return [header(entry.path, ino, typeBits[entry.type] | mode, links, data.length, device), padTo(data, 4)]
}

function trailer(): Uint8Array[] {
  return [header("TRAILER!!!", 0, 0, 1, 0, [0, 0])]
}

/** Magic, then ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check. */
function header(path: string, ino: number, mode: number, links: number, size: number, rdev: number[]): Uint8Array {
  const name = new TextEncoder().encode(`${path}\0`)
  const fields = [ino, mode, 0, 0, links, 0, size, 0, 0, ...rdev, name.length, 0]
  const hex = fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0"))
  return padTo(Buffer.concat([Buffer.from(`070701${hex.join("")}`), name]), 4)
}

function content(entry: CpioEntry): Uint8Array {
  if (entry.type === "file") return entry.data
  if (entry.type === "symlink") return new TextEncoder().encode(entry.target)
  return new Uint8Array()
}

function padTo(bytes: Uint8Array, alignment: number): Uint8Array<ArrayBuffer> {
  const padded = new Uint8Array(Math.ceil(bytes.length / alignment) * alignment)
  padded.set(bytes)
  return padded
}
