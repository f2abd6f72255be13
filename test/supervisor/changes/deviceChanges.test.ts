import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import type { Failure } from "../../../src/base/terms/failure.ts"
import type { Control, Devices } from "../../../src/host/vmm/vmm.ts"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"
import { vmLayout } from "../../../src/store/state/places.ts"
import { deviceChanges } from "../../../src/supervisor/changes/deviceChanges.ts"
import { inTurn } from "../../../src/supervisor/changes/turn.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const LIMIT = { ops: { size: 10, refill_time: 100 } }

function changesOf(control: Partial<Control>, fields: object = {}) {
  const spec = parseSpec({ kernel: "k", ...fields }, { path: "plugin.ts", text: "" })
  const layout = vmLayout({ state: directory.path, runtime: "/r" }, "vm-1")
  mkdirSync(layout.dir, { recursive: true })
  const session = { id: "vm-1", layout, journal: { resources: [] } as never, db: {} as never }
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  return deviceChanges({ session, spec, vmm: "qemu", control, log, onOwnCardGone() {} })
}
const never = () => new AbortController().signal
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    ({ code, message, hint }: Failure) => ({ code, message, hint }),
  )

/** Devices that note what they are asked, and answer when they are let. */
function noting(): { readonly devices: Devices; readonly asked: string[]; readonly answer: () => void } {
  const asked: string[] = []
  let waiting: (() => void)[] = []
  const note = (what: string) => {
    asked.push(what)
    return new Promise<void>((resolve) => waiting.push(resolve))
  }
  return {
    asked,
    answer: () => {
      const now = waiting
      waiting = []
      for (const each of now) each()
    },
    devices: {
      drives: async () => [{ id: "data", path: "/disk0" }],
      reopenDrive: (id) => note(`reopen ${id}`),
      limitDrive: (id) => note(`limit ${id}`),
      cards: async () => ["eth0"],
      limitCard: (id) => note(`limit ${id}`),
      requirePlugging: () => note("plug"),
      addDrive: ({ id }) => note(`add ${id}`),
      removeDrive: (id) => note(`remove ${id}`),
      addCard: ({ id }) => note(`add ${id}`),
      removeCard: (id) => note(`remove ${id}`),
    },
  }
}

test("a VMM that cannot change its devices is named, and so is one that cannot be reached", async () => {
  const { drives } = changesOf({}).context(never())
  expect(await failureOf(drives.replace("data", "/image"))).toEqual({
    code: "UNSUPPORTED",
    message: "ctx.drives.replace: qemu cannot change it while the guest runs",
    hint: 'use vmm: "firecracker"',
  })
  const lost = changesOf({ unreachable: "its control socket cannot be reached" }).context(never())
  expect(await failureOf(lost.drives.update("data", { rate_limiter: LIMIT }))).toMatchObject({ code: "WRONG_STATE" })
})

test("changes are made one after the other, and one that fails stops no other", async () => {
  const { devices, asked, answer } = noting()
  const { context } = changesOf({ devices }, { network: true })
  const { drives, network } = context(never())
  const all = Promise.allSettled([
    drives.update("data", { rate_limiter: LIMIT }),
    drives.update("nope", { rate_limiter: LIMIT }),
    network.update({ rx_rate_limiter: LIMIT }),
  ])
  while (asked.length === 0) await Bun.sleep(1)
  await Bun.sleep(5)
  expect(asked).toEqual(["limit data"])
  answer()
  while (asked.length === 1) await Bun.sleep(1)
  answer()
  expect((await all).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"])
  expect(asked).toEqual(["limit data", "limit eth0"])
})

test("a hook's change waits for one that somebody else makes", async () => {
  const { devices, asked, answer } = noting()
  const { drives } = changesOf({ devices }).context(never())
  let others = () => {}
  const dir = vmLayout({ state: directory.path, runtime: "/r" }, "vm-1").dir
  const other = inTurn("web", { id: "vm-1", dir }, () => new Promise<void>((resolve) => (others = resolve)))
  const change = drives.update("data", { rate_limiter: LIMIT })
  await Bun.sleep(30)
  expect(asked).toEqual([])
  others()
  await other
  while (asked.length === 0) await Bun.sleep(1)
  answer()
  await change
})

test("when the VM is over, what is being changed is waited for, and nothing begins any more", async () => {
  const { devices, asked, answer } = noting()
  const changes = changesOf({ devices })
  const { drives } = changes.context(never())
  const first = drives.update("data", { rate_limiter: LIMIT })
  while (asked.length === 0) await Bun.sleep(1)
  let over = false
  const ending = changes.over().then(() => {
    over = true
  })
  await Bun.sleep(5)
  expect(over).toBe(false)
  answer()
  await first
  await ending
  expect(await failureOf(drives.update("data", { rate_limiter: LIMIT }))).toMatchObject({ code: "WRONG_STATE" })
  expect(asked).toEqual(["limit data"])
})
