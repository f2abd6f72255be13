import { expect, test } from "bun:test"
import { readdirSync, readlinkSync } from "node:fs"
import { constants } from "node:os"
import { interpose } from "../../../src/base/linux/interpose.ts"
import { closing, closingAll, openPid, type PidRef } from "../../../src/host/process/pidRef.ts"

/** The pidfds this process holds: other descriptors may close meanwhile, as what earlier tests left is collected. */
const open = () => readdirSync("/proc/self/fd").filter(isPidfd).length

function isPidfd(fd: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).includes("[pidfd]")
  } catch {
    // It has closed since it was listed: that of the listing itself does.
    return false
  }
}

function held(pid: number): PidRef {
  const process = openPid(pid)
  if (process === undefined) throw new Error(`no process ${pid}`)
  return process
}

test("a process is held: it is asked, signalled and killed, and nobody is when it has ended", async () => {
  const child = Bun.spawn(["sleep", "600"])
  using process = held(child.pid)
  expect(process).toMatchObject({ pid: child.pid })
  expect(process.hasExited()).toBe(false)
  using again = held(child.pid)
  expect(again.inode()).toBe(process.inode())
  process.kill(5000)
  expect(process.hasExited()).toBe(true)
  await process.exited()
  await child.exited
  expect(child.signalCode).toBe("SIGKILL")
  process.signal(9)
  process.kill(0)
  expect(openPid(child.pid)).toBeUndefined()
})

test("who waits hears of the exit", async () => {
  const child = Bun.spawn(["sleep", "600"])
  using process = held(child.pid)
  const exited = process.exited()
  process.signal(15)
  await exited
  expect(process.hasExited()).toBe(true)
  await child.exited
})

test("one that does not die in its time is a failure", async () => {
  const child = Bun.spawn(["sleep", "600"])
  using process = held(child.pid)
  // As to one that hangs in the kernel, the signal does nothing.
  interpose({ before: (call) => (call === "pidfd_send_signal" ? constants.errno.ESRCH : 0) })
  try {
    expect(() => process.kill(20)).toThrow(`process ${child.pid} did not end in 1s after SIGKILL`)
  } finally {
    interpose(undefined)
  }
  child.kill(9)
  await child.exited
})

test("it closes once, however often that is asked, and is of no use then: its number may be another file's", () => {
  const before = open()
  const process = held(globalThis.process.pid)
  expect(open()).toBe(before + 1)
  process[Symbol.dispose]()
  process[Symbol.dispose]()
  expect(open()).toBe(before)
  for (const use of [
    () => process.hasExited(),
    () => process.signal(0),
    () => process.kill(0),
    () => process.inode(),
    () => process.exitStatus(),
    () => process.exited(),
    () => process.move(),
  ])
    expect(use).toThrow(`process ${process.pid} is not held any more`)
})

test("handed on, it outlives the block it was opened in, and belongs to one alone", () => {
  const before = open()
  const pass = () => {
    using process = held(globalThis.process.pid)
    return process.move()
  }
  const moved = pass()
  expect(open()).toBe(before + 1)
  expect(moved.hasExited()).toBe(false)
  moved[Symbol.dispose]()
  expect(open()).toBe(before)
})

test("an answer closes the process it carries, unless that was handed on; a list closes all", () => {
  const before = open()
  const kept = (() => {
    using answer = closing({ is: "alive", process: held(globalThis.process.pid) })
    using _ = closing({ is: "dead" })
    using __ = closing({ is: "alive", process: held(globalThis.process.pid) })
    return answer.process.move()
  })()
  expect(open()).toBe(before + 1)
  kept[Symbol.dispose]()
  {
    using _ = closingAll([held(globalThis.process.pid), undefined, held(globalThis.process.pid)])
    expect(open()).toBe(before + 2)
  }
  expect(open()).toBe(before)
})
