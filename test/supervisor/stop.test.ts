import { expect, test } from "bun:test"
import type { Log } from "../../src/base/terms/log.ts"
import type { Control } from "../../src/host/vmm/vmm.ts"
import { stopMachine } from "../../src/supervisor/stopMachine.ts"
import type { Machine } from "../../src/vm/machine.ts"

const SIGKILL = 9

/** A VMM that ends when it is killed, or when Ctrl-Alt-Del does it; what is done to it and said is noted. */
function machine(pressCtrlAltDel: Control["pressCtrlAltDel"] | "ends") {
  const noted: string[] = []
  const { promise: gone, resolve } = Promise.withResolvers<void>()
  const press = async () => {
    noted.push("pressed")
    resolve()
  }
  const stub = {
    gone,
    control: { pressCtrlAltDel: pressCtrlAltDel === "ends" ? press : pressCtrlAltDel },
    child: {
      signal(number: number) {
        noted.push(`signal ${number}`)
        if (number === SIGKILL) resolve()
      },
    },
  }
  const say = (text: string) => void noted.push(text)
  const report = { warn: say, info: say, error: say, debug: say }
  return { machine: stub as unknown as Machine, report: report as unknown as Log, noted }
}
const never = new AbortController().signal
/** Longer than any test: a stop that waits for it hangs. */
const LONG = 3_600_000

test("Ctrl-Alt-Del that works is all that is done", async () => {
  const { machine: vm, report, noted } = machine("ends")
  await stopMachine(vm, { limit: LONG, force: never, log: report })
  expect(noted).toEqual(["pressed"])
})

test("where there is no Ctrl-Alt-Del (arm64) it is said, and the next step taken at once", async () => {
  const { machine: vm, report, noted } = machine(undefined)
  await stopMachine(vm, { limit: LONG, force: never, log: report })
  expect(noted).toEqual([expect.stringContaining("has no Ctrl-Alt-Del on this processor"), `signal ${SIGKILL}`])
})

test("one deadline holds for all presses, and it is said which step ended it; a refused press is no end", async () => {
  const { machine: vm, report, noted } = machine(() => Promise.reject(new Error("internal buffer full")))
  await stopMachine(vm, { limit: 5, force: never, log: report })
  expect(noted).toEqual([
    "Ctrl-Alt-Del: internal buffer full",
    "the guest did not stop in 5ms after Ctrl-Alt-Del: killing it",
    `signal ${SIGKILL}`,
  ])
})

test("who waits long is told how long, and what ends it at once", async () => {
  const force = new AbortController()
  const { machine: vm, report } = machine(async () => {})
  const told: string[] = []
  const info = (text: string) => {
    told.push(text)
    force.abort()
  }
  await stopMachine(vm, { limit: LONG, force: force.signal, log: { ...report, info } as Log })
  expect(told).toEqual(["waiting for the guest to stop, up to 1h; to end it at once: banger kill, or Ctrl-C again"])
})

test("force kills at once, also while Ctrl-Alt-Del is waited for", async () => {
  const force = new AbortController()
  const { machine: vm, report, noted } = machine(async () => force.abort())
  await stopMachine(vm, { limit: LONG, force: force.signal, log: report })
  expect(noted).toEqual([`signal ${SIGKILL}`])
  const late = machine("ends")
  await stopMachine(late.machine, { limit: LONG, force: force.signal, log: late.report })
  expect(late.noted).toEqual([`signal ${SIGKILL}`])
})
