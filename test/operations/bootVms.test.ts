import { expect, test } from "bun:test"
import { startedAgain } from "../../src/operations/bootVms.ts"
import type { VmRecord } from "../../src/store/state/records.ts"

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

const none = { lived: new Set<string>(), shutDown: new Set<string>() }
const ids = (records: readonly VmRecord[], ends = {}) =>
  startedAgain(records, { ...none, ...ends })
    .map(({ id }) => id)
    .sort()

test("what is to run always starts again, what a user has stopped only with always", () => {
  const records = [
    vm("a-1", "always"),
    vm("b-1", "unless-stopped"),
    vm("c-1", "on-failure"),
    vm("d-1", "no"),
    vm("e-1", undefined),
    vm("f-1", { policy: "always", limit: 3 }),
    vm("g-1", { limit: 3 }),
    vm("h-1", "unless-stopped", { state: "failed", exit: JSON.stringify({ requested: false }) }),
  ]
  expect(ids(records)).toEqual(["a-1", "f-1", "h-1"])
  const all = new Set(records.map(({ id }) => id))
  for (const ends of [{ lived: all }, { shutDown: all }])
    expect(ids(records, ends)).toEqual(["a-1", "b-1", "f-1", "h-1"])
})

test("of each name the newest counts; services, failed starts and what runs are left alone", () => {
  expect(ids([vm("a-2", "no"), vm("a-1", "always")])).toEqual([])
  expect(ids([vm("a-2", "always"), vm("a-1", "no")])).toEqual(["a-2"])
  expect(
    ids([vm("a-1", "always", { request: JSON.stringify({ service: true }) })], { lived: new Set(["a-1"]) }),
  ).toEqual([])
  expect(ids([vm("a-1", "always", { state: "running" })])).toEqual([])
  expect(ids([vm("a-1", "always", { state: "running" })], { lived: new Set(["a-1"]) })).toEqual(["a-1"])
  const failed = { running_at: null, state: "failed" } as const
  expect(ids([vm("a-1", "always", failed)])).toEqual([])
  expect(ids([vm("a-2", "always", failed), vm("a-1", "always")])).toEqual(["a-1"])
  expect(ids([vm("a-2", "always", { ...failed, keptForInspection: true }), vm("a-1", "always")])).toEqual([])
  expect(ids([vm("a-1", "always", { keptForInspection: true })])).toEqual([])
  expect(ids([vm("a-1", "always", { spec: "torn" }), vm("b-1", "always", { exit: "torn" })])).toEqual(["b-1"])
})
