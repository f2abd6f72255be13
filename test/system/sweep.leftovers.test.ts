import { afterEach, beforeEach, expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../src/base/linux/files.ts"
import { keepTap, newTap, openTun } from "../../src/base/linux/tun.ts"
import { formatAlias, linkName, ownerOf } from "../../src/host/network/names.ts"
import { identifyChild } from "../../src/host/process/identity.ts"
import { openPid } from "../../src/host/process/pidRef.ts"
import { deadProcess, fill } from "../fixtures/manyVms.ts"
import { LEAVE, type Left, type Living, later, living, ownCgroups, prepareState, uidOf } from "./support/leftovers.ts"
import { eachInItsPlace, type Place } from "./support/place.ts"
import { rowsOf } from "./support/vms.ts"
import { must } from "./support/wire.ts"

ownCgroups()
const place = eachInItsPlace()
let alive: Living
beforeEach(() => {
  prepareState(place)
  alive = living()
})
afterEach(() => alive.end())

interface Report {
  readonly leftovers: readonly { kind: string; name: string; vm?: string; is: string; why: string }[]
  readonly vms: readonly { id: string; is: string }[]
}

/** A report's leftovers of what became of them, as `kind name`. */
function which({ leftovers }: Report, is: string): readonly string[] {
  return leftovers.filter((leftover) => leftover.is === is).map(({ kind, name }) => `${kind} ${name}`)
}

const shown = ({ kind, name }: Left) => `${kind} ${name}`

/** Ids that no other run of these tests has. */
const RUN = crypto.randomUUID().slice(0, 4)
const id = (kind: string, index: number) => `${kind}-${RUN}${String(index).padStart(4, "0")}`

/** What makes a thing of each kind not dead, though it has no record. */
const SPEAK: Readonly<Record<string, (left: Left, index: number) => void>> = {
  jail: ({ name }) => alive.process({ cwd: join(name, "root") }),
  stage: ({ name }) => alive.process({ stdin: join(name, "root/kernel") }),
  trash: ({ name }) => alive.process({ cwd: join(name, "root/dev") }),
  cgroup: ({ name }) => alive.process({ cgroup: name }),
  runtime: ({ name }) => alive.process({ stdin: join(name, "file") }),
  vm: ({ name }) => alive.lock(join(name, "lock")),
  uid: (_, index) => alive.process({ uid: uidOf(index) }),
  log: ({ name }) => alive.lock(name),
  lock: ({ name }) => alive.lock(name),
}

function leaveTap(at: Place, index: number, held: boolean): Left {
  const vm = id("tap", index)
  const fd = openTun()
  newTap(fd, linkName(vm))
  must("ip", "link", "set", linkName(vm), "alias", formatAlias({ kind: "tap", vm, owner: ownerOf(at.state) }))
  if (held) alive.keep(() => close(fd))
  else {
    keepTap(fd, true)
    close(fd)
  }
  return { kind: "tap", name: linkName(vm) }
}

/** 200 when it is asked for, which takes minutes. */
const COUNT = Number(process.env.BANGER_TEST_LEFTOVERS ?? 50)

test(`${COUNT} of each kind, dead and living, with records and without: exactly the dead go`, async () => {
  const sleep = Bun.spawn(["sleep", "600"], { stdio: ["ignore", "ignore", "ignore"] })
  alive.keep(() => sleep.kill("SIGKILL"))
  using held = openPid(sleep.pid)
  if (held === undefined) throw new Error("the child has ended")
  const deadIds = fill(place, COUNT, deadProcess(), "dead")
  const livingIds = fill(place, COUNT, identifyChild(held), "live")
  const dead: Left[] = []
  const kept: Left[] = []
  let index = 0
  for (const [kind, leave] of Object.entries(LEAVE)) {
    for (let n = 0; n < COUNT; n++) {
      dead.push(leave(place, id(kind, index), index))
      index++
      const speak = SPEAK[kind]
      if (speak === undefined) continue
      const left = leave(place, id(kind, index), index)
      speak(left, index)
      kept.push(left)
      index++
    }
  }
  for (let n = 0; n < COUNT; n++) {
    dead.push(leaveTap(place, n, false))
    kept.push(leaveTap(place, COUNT + n, true))
  }
  const dry = JSON.parse((await later(place, ["sweep", "--dry-run", "--json"])).stdout) as Report
  expect(which(dry, "dead").toSorted()).toEqual(dead.map(shown).toSorted())
  const swept = await later(place, ["sweep", "--json"])
  const report = JSON.parse(swept.stdout) as Report
  expect(which(report, "removed").toSorted()).toEqual(dead.map(shown).toSorted())
  expect(which(report, "failed")).toEqual([])
  const others = report.leftovers.filter(({ is }) => is !== "removed").map(shown)
  expect(others.toSorted()).toEqual(kept.map(shown).toSorted())
  expect(report.leftovers.every(({ why }) => why.length > 0)).toBe(true)
  const of = (is: string) => report.vms.filter((vm) => vm.is === is).map((vm) => vm.id)
  expect(of("recovered").toSorted()).toEqual(deadIds.toSorted())
  expect(of("alive").toSorted()).toEqual(livingIds.toSorted())
  for (const { name } of dead.filter(({ name }) => name.startsWith("/"))) expect(existsSync(name), name).toBe(false)
  for (const { name } of kept.filter(({ name }) => name.startsWith("/"))) expect(existsSync(name), name).toBe(true)
  expect(rowsOf(place, "select uid from uids")).toHaveLength(COUNT)
  // Once nothing lives any more, all goes.
  sleep.kill("SIGKILL")
  await sleep.exited
  await alive.end()
  const last = await later(place, ["sweep", "--json"])
  const left = (JSON.parse(last.stdout) as Report).leftovers
  // Of the held taps nothing was there any more: they go with who holds them.
  expect(left.filter(({ is }) => is !== "removed")).toEqual([])
  expect(left).toHaveLength(kept.length - COUNT)
  expect(await later(place, ["sweep"])).toMatchObject({ exit: 0, stdout: "", stderr: "" })
}, 600_000)
