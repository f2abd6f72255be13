import { ptr } from "bun:ffi"
import { AF, MSG, SOCK, SOL } from "./constants.ts"
import { descriptor, fixed, word } from "./guards.ts"
import { checked, libc, outcome } from "./libc.ts"

/** One instruction of a classic BPF program (Linux: networking/filter.rst): code, jumps when true and when false, operand. */
export type Instruction = readonly [code: number, whenTrue: number, whenFalse: number, operand: number]

/**
 * A socket that gets the frames that come in by a network interface and that a filter lets through, and no other from its first
 * moment on; what is sent to it leaves by that interface (packet(7), PACKET_IGNORE_OUTGOING of Linux 4.20; CAP_NET_RAW). It never
 * waits. The caller closes the descriptor.
 */
export function openFrames(
  { index, name }: { readonly index: number; readonly name: string },
  filter: readonly Instruction[],
): number {
  const fd = checked("socket", () => libc.socket(AF.PACKET, SOCK.RAW | SOCK.CLOEXEC | SOCK.NONBLOCK, 0), name)
  try {
    const program = packFilter(filter)
    const fprog = fixed(16)
    const view = new DataView(fprog.buffer)
    view.setUint16(0, filter.length, true)
    view.setBigUint64(8, BigInt(ptr(program)), true)
    checked("setsockopt", () => libc.setsockopt(fd, SOL.SOCKET, SO_ATTACH_FILTER, fprog, fprog.length), name)
    for (const [level, option, value] of [
      [SOL.PACKET, PACKET_IGNORE_OUTGOING, 1],
      [SOL.SOCKET, SO_RCVBUF, QUEUE_BYTES],
    ] as const) {
      const packed = fixed(4)
      new DataView(packed.buffer).setUint32(0, value, true)
      checked("setsockopt", () => libc.setsockopt(fd, level, option, packed, packed.length), name)
    }
    const address = fixed(20)
    const to = new DataView(address.buffer)
    to.setUint16(0, AF.PACKET, true)
    to.setUint16(2, ETH_P_ALL)
    to.setInt32(4, word("index", index), true)
    checked("bind", () => libc.bind(fd, address, address.length), name)
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/** Sends one frame. Where the interface has gone, or takes no more, the frame is lost, as frames are. */
export function sendFrame(fd: number, frame: Uint8Array): void {
  const bytes = fixed(frame.length)
  bytes.set(frame)
  outcome("send", () => libc.send(descriptor(fd), bytes, bytes.length, MSG.DONTWAIT | MSG.NOSIGNAL))
}

// --- internal ---

/** Of a port of a bridge only who asks for all protocols gets what comes in. */
const ETH_P_ALL = 3
const SO_RCVBUF = 8
const SO_ATTACH_FILTER = 26
const PACKET_IGNORE_OUTGOING = 23

/** What waits to be read, with the kernel's own overhead; more is dropped. */
const QUEUE_BYTES = 32 * 1024

function packFilter(filter: readonly Instruction[]): Uint8Array {
  const bytes = fixed(8 * filter.length)
  const view = new DataView(bytes.buffer)
  for (const [at, [code, whenTrue, whenFalse, operand]] of filter.entries()) {
    view.setUint16(8 * at, code, true)
    view.setUint8(8 * at + 2, whenTrue)
    view.setUint8(8 * at + 3, whenFalse)
    view.setUint32(8 * at + 4, operand, true)
  }
  return bytes
}
