import { fixed, word } from "./guards.ts"
import { checked, libc } from "./libc.ts"
import { mapCode } from "./machineCode.ts"

/**
 * From now on a thread that takes one of these signals hands it to the main thread, by tgkill(2): where that holds them back, they
 * wait there, also across execve(2), and none is lost. (The kernel gives a signal of the process to any thread that does not hold
 * it back, and what a program's own handler has noted ends with the program.) The main thread must hold them back already. Returns
 * what puts the handlers back that were there. Throws where the kernel gives no memory to run code in.
 */
export function redirectSignals(signals: readonly number[]): () => void {
  const act = fixed(SIGACTION.size)
  const view = new DataView(act.buffer)
  view.setBigUint64(SIGACTION.handler, BigInt(handOver()), true)
  view.setInt32(SIGACTION.flags, SA_RESTART, true)
  // The main thread holds none back while it waits for events (epoll_pwait2(2)): two signals would hand each other over for ever.
  act.fill(0xff, SIGACTION.mask, SIGACTION.flags)
  const before = signals.map((signal) => {
    const old = fixed(SIGACTION.size)
    checked("sigaction", () => libc.sigaction(word("signal", signal), act, old))
    return [signal, old] as const
  })
  return () => {
    for (const [signal, old] of before) libc.sigaction(word("signal", signal), old, null)
  }
}

/** The code of a handler: `tgkill(pid, pid, signal)`, and nothing else. No function of libc does it: none would get the pid. Pure. */
export function handOverCode(pid: number, arch: string = process.arch): Uint8Array {
  const [low, high] = [pid & 0xffff, pid >>> 16]
  if (arch === "arm64") {
    const set = (register: number) => [
      0x5280_0000 | (low << 5) | register,
      (0x72a0_0000 | (high << 5) | register) >>> 0,
    ]
    // mov w2, w0; movz and movk w0 and w1, pid; movz w8, tgkill; svc 0; ret
    const moves = [0x2a00_03e2, ...set(0), ...set(1), 0x5280_0000 | (131 << 5) | 8]
    return new Uint8Array(new Uint32Array([...moves, 0xd400_0001, 0xd65f_03c0]).buffer)
  }
  const bytes = [pid, pid >>> 8, pid >>> 16, pid >>> 24].map((byte) => byte & 0xff)
  // mov edx, edi; mov edi, pid; mov esi, pid; mov eax, tgkill; syscall; ret
  return new Uint8Array([0x89, 0xfa, 0xbf, ...bytes, 0xbe, ...bytes, 0xb8, 234, 0, 0, 0, 0x0f, 0x05, 0xc3])
}

// --- internal ---

/** struct sigaction of glibc and musl, on 64-bit machines: handler, mask, flags, restorer. */
const SIGACTION = { size: 152, handler: 0, mask: 8, flags: 136 } as const
const SA_RESTART = 0x1000_0000

let address: number | undefined

/** Where that code is in this process. */
function handOver(): number {
  address ??= mapCode(handOverCode(process.pid))
  return address
}
