import { beforeEach, expect, test } from "bun:test"
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { constants } from "node:os"
import { join } from "node:path"
import { openPid, type PidRef } from "../../src/host/process/pidRef.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { askToStop, takeStopRequest } from "../../src/vm/stopRequest.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const layout = (id = "vm-1") => vmLayout({ state: directory.path, runtime: join(directory.path, "run") }, id)

const { SIGTERM, SIGUSR1 } = constants.signals
let sent: number[] = []

beforeEach(() => {
  sent = []
  mkdirSync(layout().dir, { recursive: true })
})

/** Asks a supervisor that only notes its signals, with the pid of this process. */
function ask(
  action: "stop" | "kill",
  state: "running" | "stopping",
  { timeout, id }: { timeout?: number; id?: string } = {},
) {
  using self = openPid(process.pid)
  if (self === undefined) throw new Error("this process is not there")
  const supervisor: PidRef = { ...self, signal: (number) => sent.push(number) }
  const request = timeout === undefined ? { action } : { action, timeout }
  return askToStop(supervisor, request, { layout: layout(id), stateNow: () => state })
}

test("however many ask for a stop, its supervisor gets one signal; to kill is another matter; a request is taken once", () => {
  expect(takeStopRequest(layout())).toBeUndefined()
  expect(ask("stop", "running", { timeout: 5 })).toBe("asked")
  expect(ask("stop", "running")).toBe("asked before")
  expect(ask("kill", "running")).toBe("asked")
  expect(ask("kill", "running")).toBe("asked before")
  expect(ask("stop", "running")).toBe("asked before")
  expect(takeStopRequest(layout())).toMatchObject({ action: "kill" })
  expect(takeStopRequest(layout())).toBeUndefined()
  expect(ask("stop", "stopping")).toBe("asked before")
  expect(sent).toEqual([SIGTERM, SIGTERM])
})

test("the first request's time limit holds", () => {
  expect(ask("stop", "running", { timeout: 5 })).toBe("asked")
  expect(ask("stop", "running", { timeout: 7 })).toBe("asked before")
  expect(takeStopRequest(layout())).toMatchObject({ action: "stop", timeout: 5 })
})

test("what another supervisor was asked for, and what is no request, keeps nobody from asking", () => {
  writeFileSync(layout().stopRequest, JSON.stringify({ action: "stop", to: 1 }))
  expect(ask("stop", "running")).toBe("asked")
  for (const text of ["{", "{}", '{"action":"sleep"}', `{"action":"stop"${" ".repeat(2000)}}`]) {
    writeFileSync(layout().stopRequest, text)
    expect(ask("stop", "running"), text.slice(0, 30)).toBe("asked")
    writeFileSync(layout().stopRequest, text)
    expect(takeStopRequest(layout()), text.slice(0, 30)).toBeUndefined()
    expect(existsSync(layout().stopRequest)).toBe(false)
  }
  symlinkSync("/etc/passwd", layout().stopRequest)
  expect(takeStopRequest(layout())).toBeUndefined()
  expect(sent).toEqual(Array(5).fill(SIGTERM))
})

test("where nothing can be written the signals alone say how: to kill is two different ones", () => {
  // A file is in the place of its directory.
  const id = "vm-2"
  writeFileSync(layout(id).dir, "")
  expect(ask("stop", "running", { id })).toBe("asked")
  expect(sent).toEqual([SIGTERM])
  expect(ask("stop", "stopping", { id })).toBe("asked before")
  expect(sent).toEqual([SIGTERM])
  expect(ask("kill", "stopping", { id })).toBe("asked")
  expect(sent).toEqual([SIGTERM, SIGTERM, SIGUSR1])
})
