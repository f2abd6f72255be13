import { expect, test } from "bun:test"
import { isMapped, parseIdMap, uidRangeOf as rangeOf, requireMapped } from "../../../src/store/files/idMap.ts"
import { failure } from "../../failure.ts"

const WANTED = { first: 1_900_000_000, count: 65_536 }
const uidRangeOf = (maps: Parameters<typeof rangeOf>[0]) => rangeOf(maps, WANTED)

const whole = parseIdMap("         0          0 4294967295\n")
/** What LXD and rootless podman map. */
const container = parseIdMap("0 0 1\n1 300000 65535\n")

test("on a host VMs have banger's own range, in a container a part of what is mapped for users and groups", () => {
  expect(uidRangeOf({ uids: whole, gids: whole })).toEqual({ first: 1_900_000_000, count: 65_536 })
  expect(uidRangeOf({ uids: container, gids: container })).toEqual({ first: 30_000, count: 30_000 })
  expect(uidRangeOf({ uids: container, gids: whole })).toEqual({ first: 30_000, count: 30_000 })
  // Partly mapped: only what both have.
  const few = parseIdMap("0 1000 1\n40000 500000 100\n")
  expect(uidRangeOf({ uids: few, gids: container })).toEqual({ first: 40_000, count: 100 })
  expect(uidRangeOf({ uids: parseIdMap("0 0 1\n1 100000 9999"), gids: container })).toEqual({
    first: 2000,
    count: 8000,
  })
})

test("where one, too few or different ids are mapped, it is refused with what to do", () => {
  const one = parseIdMap("0 1000 1\n")
  for (const maps of [
    { uids: one, gids: one },
    { uids: container, gids: one },
    { uids: parseIdMap("0 0 1\n30000 5 15"), gids: container },
    { uids: parseIdMap("0 0 20000"), gids: parseIdMap("0 0 1\n30000 1 9000") },
    { uids: [], gids: [] },
  ])
    expect(() => uidRangeOf(maps)).toThrow(failure("HOST_LACKS", "this user namespace maps no 16 uids"))
})

test("a plugin's own uid and gid must be mapped, each by its map", () => {
  requireMapped({ uid: 2000, gid: 2000 }, { uids: container, gids: container })
  expect(() => requireMapped({ uid: 70_000, gid: 1 }, { uids: container, gids: container })).toThrow("jail.uid: 70000")
  expect(() => requireMapped({ uid: 1, gid: 70_000 }, { uids: container, gids: container })).toThrow("jail.gid: 70000")
  expect([isMapped(65_535, container), isMapped(65_536, container), isMapped(0, [])]).toEqual([true, false, false])
})
