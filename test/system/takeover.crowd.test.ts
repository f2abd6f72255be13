import { expect, test } from "bun:test"
import { banger } from "./support/banger.ts"
import { doublesOfFile } from "./support/doubles.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { listed, noted, runDouble, signal } from "./support/vms.ts"

const doubles = doublesOfFile()
const place = eachInItsPlace()

const VMS = 50
const CALLERS = 20
/** How long they go on, in milliseconds: a minute when it is asked for. */
const TIME = Number(process.env.BANGER_TEST_CROWD_MS ?? 10_000)

/** What a caller may be told besides that all is well: another one was first. */
const FIRST =
  /no VM "|is in the hands of another banger|has not ended: it is|is about to be started again|still runs as process/

test(`${CALLERS} bangers list, stop, remove and reconcile ${VMS} VMs at once: no deadlock, no double postStop, no leak, no loss`, async () => {
  const names = Array.from({ length: VMS }, (_, index) => `vm-${index}`)
  const boot = async (name: string, index: number) => {
    const flags = index % 2 === 0 ? ["--detach"] : ["--supervise=none"]
    const { stderr, exit } = await runDouble(place, doubles, flags, "PRINT[up]", { name })
    expect({ name, stderr, exit }).toMatchObject({ exit: 0 })
  }
  for (let at = 0; at < VMS; at += 5)
    await Promise.all(names.slice(at, at + 5).map((name, index) => boot(name, at + index)))
  const ids = (await listed(place)).map(({ id }) => id)
  expect(ids).toHaveLength(VMS)
  // Some die by themselves, with and without a supervisor.
  for (const { pid } of (await listed(place)).slice(0, 10)) signal(pid, "SIGKILL")
  const end = performance.now() + TIME
  const odd: string[] = []
  let calls = 0
  const caller = async (seed: number) => {
    for (let turn = seed; performance.now() < end; turn += 7) {
      const name = names[(turn * 13) % VMS] ?? ""
      const words = [
        ["ps", "--json"],
        ["stop", name],
        ["ps", "--reconcile"],
        ["rm", name],
        ["rm", "-f", name],
      ]
      const command = words[turn % words.length] ?? []
      // Only towards the end, so that there is something to quarrel about until then.
      if (command[0] === "rm" && performance.now() < end - TIME / 3) continue
      const { stderr, exit } = await banger(place, command)
      calls++
      if (exit !== 0 && !FIRST.test(stderr)) odd.push(`${command.join(" ")}: exit ${exit}: ${stderr}`)
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, (_, seed) => caller(seed)))
  expect(odd).toEqual([])
  expect(calls).toBeGreaterThan(CALLERS)
  for (const { id } of records(place)) expect((await banger(place, ["stop", id])).exit).toBe(0)
  const ended = noted(place, "ended")
  expect(ended.toSorted()).toEqual(ids.toSorted())
  console.log(`${calls} calls on ${VMS} VMs`)
}, 300_000)
