import { ptr } from "bun:ffi"
import { O } from "./constants.ts"
import { close, openAt } from "./files.ts"
import { AT_FDCWD, fixed } from "./guards.ts"
import { checked, libc } from "./libc.ts"

/** A device of the device mapper, as the kernel tells of it. */
export interface MappedDevice {
  readonly name: string
  /** "" where whoever made it gave it none. */
  readonly uuid: string
  /** `major:minor`. */
  readonly rdev: string
}

/** A line of a device's table (dmsetup(8)), in sectors of 512 bytes. */
export interface Target {
  readonly start: number
  readonly length: number
  readonly type: string
  readonly parameters: string
}

/**
 * Makes a device without a table, in one step with its name and uuid (DM_DEV_CREATE): no moment shows it without. EBUSY when either is
 * taken.
 */
export function createMapped(name: string, uuid: string): MappedDevice {
  return command("DM_DEV_CREATE", 3, { name, uuid })
}

/** Gives a device its table, and lets it work (DM_TABLE_LOAD, DM_DEV_SUSPEND). By uuid, so it is that one or none: ENXIO. */
export function startMapped(uuid: string, targets: readonly Target[], readonly: boolean): void {
  const flags = readonly ? DM_READONLY_FLAG : 0
  command("DM_TABLE_LOAD", 9, { uuid, flags, data: packTargets(targets), count: targets.length })
  command("DM_DEV_SUSPEND", 6, { uuid, flags })
}

/** Looks at a device, by its uuid or by its name (DM_DEV_STATUS). ENXIO when there is none. */
export function mappedStatus(by: { readonly uuid: string } | { readonly name: string }): MappedDevice {
  return command("DM_DEV_STATUS", 7, by)
}

/** Removes the device with this uuid, whatever name it has (DM_DEV_REMOVE). ENXIO when there is none, EBUSY while it is in use. */
export function removeMapped(uuid: string): void {
  if (uuid === "") throw new TypeError("no uuid of a device")
  command("DM_DEV_REMOVE", 4, { uuid })
}

// --- internal ---

const DM_READONLY_FLAG = 1

/** linux/dm-ioctl.h: `struct dm_ioctl`, and `struct dm_target_spec`. */
const HEAD = { size: 312, dataSize: 12, dataStart: 16, count: 20, flags: 28, dev: 40, name: 48, uuid: 176 } as const
const NAME_MAX_BYTES = 127
const UUID_MAX_BYTES = 128
const SPEC = { size: 40, length: 8, next: 20, type: 24 } as const
const TYPE_MAX_BYTES = 15

/** _IOWR(0xfd, number, struct dm_ioctl) is this and the number. */
const REQUEST = 0xc138_fd00

interface Command {
  readonly name?: string
  readonly uuid?: string
  readonly flags?: number
  readonly data?: Uint8Array
  readonly count?: number
}

function command(
  call: string,
  number: number,
  { name = "", uuid = "", flags = 0, data = new Uint8Array(), count = 0 }: Command,
): MappedDevice {
  const block = fixed(HEAD.size + data.length)
  const view = new DataView(block.buffer)
  view.setUint32(0, 4, true)
  view.setUint32(HEAD.dataSize, block.length, true)
  view.setUint32(HEAD.dataStart, HEAD.size, true)
  view.setUint32(HEAD.count, count, true)
  view.setUint32(HEAD.flags, flags, true)
  block.set(word(name, NAME_MAX_BYTES), HEAD.name)
  block.set(word(uuid, UUID_MAX_BYTES), HEAD.uuid)
  block.set(data, HEAD.size)
  const control = openAt(AT_FDCWD, "/dev/mapper/control", O.RDWR)
  try {
    checked(`ioctl ${call}`, () => libc.ioctl(control, REQUEST + number, ptr(block)), name || uuid)
  } finally {
    close(control)
  }
  const dev = view.getBigUint64(HEAD.dev, true)
  return {
    name: textAt(block, HEAD.name, NAME_MAX_BYTES + 1),
    uuid: textAt(block, HEAD.uuid, UUID_MAX_BYTES + 1),
    rdev: `${(dev >> 8n) & 0xfffn}:${(dev & 0xffn) | ((dev >> 12n) & 0xf_ff00n)}`,
  }
}

function word(text: string, most: number): Uint8Array {
  const bytes = new TextEncoder().encode(text)
  if (bytes.length > most || bytes.includes(0)) throw new TypeError(`not a name of a device: ${JSON.stringify(text)}`)
  return bytes
}

function textAt(block: Uint8Array, at: number, size: number): string {
  const bytes = block.subarray(at, at + size)
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end === -1 ? bytes : bytes.subarray(0, end))
}

/** Each target, and behind it its parameters as a C string; the next begins at a whole word. */
function packTargets(targets: readonly Target[]): Uint8Array {
  const packed = targets.map(({ start, length, type, parameters }) => {
    const words = word(parameters, PARAMETERS_MAX_BYTES)
    const bytes = fixed((SPEC.size + words.length + 1 + 7) & ~7)
    const view = new DataView(bytes.buffer)
    view.setBigUint64(0, BigInt(start), true)
    view.setBigUint64(SPEC.length, BigInt(length), true)
    view.setUint32(SPEC.next, bytes.length, true)
    bytes.set(word(type, TYPE_MAX_BYTES), SPEC.type)
    bytes.set(words, SPEC.size)
    return bytes
  })
  return Uint8Array.from(Buffer.concat(packed))
}

const PARAMETERS_MAX_BYTES = 4096
