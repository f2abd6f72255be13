import { O } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { openAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import {
  changeKvmSregs,
  createKvmProcessor,
  createKvmVm,
  mapShared,
  runKvmProcessor,
  setKvmCpuid,
  setKvmMemory,
  setKvmRegs,
  setKvmTss,
} from "../../base/linux/kvmVm.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { GDT, MEMORY_BYTES, ROUND, START, writeProbeGuest } from "./probeGuest.ts"
import type { Tried } from "./tried.ts"

/**
 * Runs the probe's guest by /dev/kvm: whether a stock kernel would boot. Its processor may never come back, and what it holds
 * goes with this process only: run it in one of its own. `begun` hears that the guest is about to run. Throws nothing. x86-64.
 */
export function runProbe(begun: () => void): Tried {
  try {
    return judgeRounds(startGuest(begun))
  } catch (error) {
    const words = messageOf(error)
    return PASSING.includes(errorCode(error) ?? "") ? { is: "unknown", words } : { is: "fails", words }
  }
}

/** The verdict on how long each round took, in milliseconds, until one was quick; a processor that stops says why instead. Pure. */
export function judgeRounds(rounds: Iterable<number | string>): Tried {
  let best = Number.POSITIVE_INFINITY
  for (const round of rounds) {
    if (typeof round === "string") return { is: "fails", words: round }
    best = Math.min(best, round)
    if (best < ROUND_MAX_MS) return { is: "works" }
  }
  const each = Math.round((best * 1e6) / ROUND.instructions)
  return { is: "fails", words: `it emulates a guest's instructions one by one, in ${each} ns each` }
}

// --- internal ---

/** 100 ns an instruction: processors take less than one, an emulated processor with nested guests some 5, PVM some 1000. */
const ROUND_MAX_MS = (ROUND.instructions * 100) / 1e6

/** There is too little of something just now, another hypervisor has the processor, or the device is not for this user. */
const PASSING = ["ENOMEM", "EMFILE", "ENFILE", "EAGAIN", "EBUSY", "EACCES", "EPERM"]

/** The best of these counts: others may use the processor in between. */
const ROUNDS_MAX_COUNT = 20
const ROUNDS_MAX_MS = 800

/** struct kvm_run: where it says why the processor stopped, and what an internal error adds. */
const RUN = { exitReason: 8, suberror: 32 } as const

/** KVM_EXIT_…, of linux/kvm.h. */
const EXIT = { io: 2, shutdown: 8, failEntry: 9, internalError: 17 } as const

/** Starts the guest, and gives the time of each of its rounds in milliseconds, or why its processor stopped. */
function* startGuest(begun: () => void): Generator<number | string> {
  const kvm = openAt(AT_FDCWD, "/dev/kvm", O.RDWR)
  const vm = createKvmVm(kvm)
  setKvmTss(vm, 0xfffb_d000)
  const memory = mapShared(MEMORY_BYTES)
  writeProbeGuest(memory.bytes)
  setKvmMemory(vm, memory)
  const { fd, run } = createKvmProcessor(kvm, vm)
  setKvmCpuid(kvm, fd)
  changeKvmSregs(fd, enterProtectedMode)
  setKvmRegs(fd, START)
  const exit = new DataView(run.bytes.buffer)
  begun()
  const end = performance.now() + ROUNDS_MAX_MS
  for (let round = 0; round < ROUNDS_MAX_COUNT && performance.now() < end; round++) {
    const start = performance.now()
    runKvmProcessor(fd)
    const reason = exit.getUint32(RUN.exitReason, true)
    if (reason === EXIT.io) yield performance.now() - start
    else yield stoppedBy(reason, exit.getUint32(RUN.suberror, true))
  }
}

function stoppedBy(reason: number, suberror: number): string {
  if (reason === EXIT.internalError)
    return `it cannot do what every kernel asks for at its start (internal error ${suberror})`
  if (reason === EXIT.failEntry) return "the processor refuses to run a guest"
  return reason === EXIT.shutdown ? "a guest dies at its start" : `a guest stops at its start (exit reason ${reason})`
}

/** Flat segments, and no paging yet. */
function enterProtectedMode(sregs: DataView): void {
  const SEGMENT_BYTES = 24
  for (const index of [0, 1, 2, 3, 4, 5]) {
    const at = index * SEGMENT_BYTES
    sregs.setBigUint64(at, 0n, true)
    sregs.setUint32(at + 8, 0xffffffff, true)
    sregs.setUint16(at + 12, index === 0 ? GDT.code32 : GDT.data, true)
    // type, present, dpl, db, s, l, g, avl
    const [type, ...flags] = [index === 0 ? 11 : 3, 1, 0, 1, 1, 0, 1, 0]
    for (const [byte, value] of [type ?? 0, ...flags].entries()) sregs.setUint8(at + 14 + byte, value)
  }
  sregs.setBigUint64(192, BigInt(GDT.base), true)
  sregs.setUint16(200, GDT.limit, true)
  // CR0: PE and ET.
  sregs.setBigUint64(224, 0x11n, true)
}
