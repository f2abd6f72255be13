import { expect, test } from "bun:test"
import { startedAgain } from "../../../src/operations/end/startedAgain.ts"
import type { VmRecord } from "../../../src/store/state/records.ts"

function vm(id: string, restart: unknown, more: Partial<VmRecord> = {}): VmRecord {
  const [name = id] = id.split("-")
  return {
    ...{
      id,
      name,
      state: "stopped",
      vmm: "qemu",
      boot_id: "b",
      plugin_path: "/p.ts",
      plugin_sha256: "0",
      handles: "[]",
    },
    ...{
      spec: JSON.stringify({ name, restart }),
      generation: 0,
      exit: JSON.stringify({ requested: true }),
      request: "{}",
    },
    ...{ post_stop_begun: 0, post_stop_done: 0, created_at: 0, updated_at: 0, running_at: 1, ended_at: 2 },
    ...{ restart_at: null, baseline: null, keptForInspection: false },
    ...more,
  }
}

const ids = (records: readonly VmRecord[], stops: Readonly<Record<string, "stopped" | "removed">> = {}) =>
  startedAgain(records, new Map(Object.entries(stops)))
    .map(({ id }) => id)
    .sort()

test("what is to run always starts again, what a user has stopped only with always, what they removed never", () => {
  const policies = { a: "always", b: "unless-stopped", c: "on-failure", d: "no", e: undefined }
  const more = { f: { policy: "always", limit: 3 }, g: { limit: 3 } }
  const records = Object.entries({ ...policies, ...more }).map(([name, restart]) => vm(`${name}-1`, restart))
  const all = (stop: "stopped" | "removed") => Object.fromEntries(records.map(({ name }) => [name, stop]))
  expect(ids(records)).toEqual(["a-1", "b-1", "f-1"])
  expect(ids(records, all("stopped"))).toEqual(["a-1", "f-1"])
  expect(ids(records, all("removed"))).toEqual([])
  for (const exit of [null, "torn", JSON.stringify({ requested: false })])
    expect(ids(records.map((record) => ({ ...record, exit })))).toEqual(["a-1", "b-1", "f-1"])
})

test("of each name the newest counts; services, failed starts and what runs are left alone", () => {
  expect(ids([vm("a-2", "no"), vm("a-1", "always")])).toEqual([])
  expect(ids([vm("a-2", "always"), vm("a-1", "no")])).toEqual(["a-2"])
  expect(ids([vm("a-1", "always", { request: JSON.stringify({ service: true }) })])).toEqual([])
  expect(ids([vm("a-1", "always", { state: "running" })])).toEqual([])
  expect(ids([vm("a-2", "always", { state: "booting", running_at: null }), vm("a-1", "always")])).toEqual([])
  const failed = { running_at: null, state: "failed" } as const
  expect(ids([vm("a-1", "always", failed)])).toEqual([])
  expect(ids([vm("a-2", "always", failed), vm("a-1", "always")])).toEqual(["a-1"])
  expect(ids([vm("a-2", "always", { ...failed, keptForInspection: true }), vm("a-1", "always")])).toEqual([])
  expect(ids([vm("a-1", "always", { keptForInspection: true })])).toEqual([])
  expect(ids([vm("a-1", "always", { spec: "torn" }), vm("b-1", "always", { exit: "torn" })])).toEqual(["b-1"])
})
