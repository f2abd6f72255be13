import { ptr } from "bun:ffi"
import { O } from "./constants.ts"
import { close, openAt } from "./files.ts"
import { AT_FDCWD, descriptor, fixed } from "./guards.ts"
import { checked, libc } from "./libc.ts"

/** What a loop device shows of itself (loop(4)). */
export interface LoopStatus {
  /** Its file, as `device:inode`. */
  readonly backing: string
  /** The words that whoever attached it has put there: losetup(8) puts the file's path. */
  readonly label: string
}

/** How a file is attached. */
export interface LoopConfig {
  readonly file: number
  /** At most 63 bytes. */
  readonly label: string
  readonly readonly: boolean
  readonly offset: number
  /** 0: to the file's end. */
  readonly sizeLimit: number
}

/** The number of a loop device that is free at this moment, made where there is none (LOOP_CTL_GET_FREE). */
export function freeLoop(): number {
  const control = openAt(AT_FDCWD, "/dev/loop-control", O.RDWR)
  try {
    return checked("ioctl LOOP_CTL_GET_FREE", () => libc.ioctl(control, LOOP_CTL_GET_FREE, 0))
  } finally {
    close(control)
  }
}

/**
 * Attaches a file to a loop device, in one step with its label (LOOP_CONFIGURE, Linux 5.8): no moment shows it without. EBUSY when the
 * device has a file.
 */
export function attachLoop(loop: number, { file, label, readonly, offset, sizeLimit }: LoopConfig): void {
  const bytes = new TextEncoder().encode(label)
  if (bytes.length > LABEL_MAX_BYTES) throw new TypeError(`label longer than ${LABEL_MAX_BYTES} bytes: ${label}`)
  const config = fixed(CONFIG.size)
  const view = new DataView(config.buffer)
  view.setUint32(CONFIG.fd, descriptor(file), true)
  view.setBigUint64(CONFIG.info + INFO.offset, BigInt(offset), true)
  view.setBigUint64(CONFIG.info + INFO.sizeLimit, BigInt(sizeLimit), true)
  view.setUint32(CONFIG.info + INFO.flags, readonly ? LO_FLAGS_READ_ONLY : 0, true)
  config.set(bytes, CONFIG.info + INFO.label)
  checked("ioctl LOOP_CONFIGURE", () => libc.ioctl(descriptor(loop), LOOP_CONFIGURE, ptr(config)))
}

/** What a loop device has (LOOP_GET_STATUS64). ENXIO when it has no file. */
export function loopStatus(loop: number): LoopStatus {
  const info = fixed(INFO.size)
  checked("ioctl LOOP_GET_STATUS64", () => libc.ioctl(descriptor(loop), LOOP_GET_STATUS64, ptr(info)))
  const view = new DataView(info.buffer)
  const label = info.subarray(INFO.label, INFO.label + LABEL_MAX_BYTES + 1)
  const end = label.indexOf(0)
  return {
    backing: `${deviceOf(view.getBigUint64(0, true))}:${view.getBigUint64(INFO.inode, true)}`,
    label: new TextDecoder().decode(end === -1 ? label : label.subarray(0, end)),
  }
}

/**
 * Takes the file from a loop device (LOOP_CLR_FD): at once, or when the last one who has the device open closes it. As long as it is
 * open here, nobody else can give it another file.
 */
export function detachLoop(loop: number): void {
  checked("ioctl LOOP_CLR_FD", () => libc.ioctl(descriptor(loop), LOOP_CLR_FD, 0))
}

// --- internal ---

const LOOP_CLR_FD = 0x4c01
const LOOP_GET_STATUS64 = 0x4c05
const LOOP_CONFIGURE = 0x4c0a
const LOOP_CTL_GET_FREE = 0x4c82
const LO_FLAGS_READ_ONLY = 1

/** linux/loop.h: `struct loop_info64`, and `struct loop_config`, which holds one. */
const INFO = { size: 232, inode: 8, offset: 24, sizeLimit: 32, flags: 52, label: 56 } as const
const CONFIG = { size: 304, fd: 0, info: 8 } as const
const LABEL_MAX_BYTES = 63

/** The kernel's `huge_encode_dev` as `major:minor`. */
function deviceOf(encoded: bigint): string {
  return `${(encoded >> 8n) & 0xfffn}:${(encoded & 0xffn) | ((encoded >> 12n) & 0xf_ff00n)}`
}
