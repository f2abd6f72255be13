import { expect } from "bun:test"
import { banger, start } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace } from "./support/place.ts"
import { killed, listed, noted, runDouble, signal } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

onBoth(
  "killing the supervisor leaves the VM; supervise takes it over with the same process, and to the end",
  async () => {
    await runDouble(place, firecracker)
    const [vm] = await listed(place)
    await killed(vm?.supervisor)
    expect(await listed(place)).toMatchObject([{ liveness: "alive", pid: vm?.pid, state: "running" }])
    expect((await listed(place))[0]?.supervisor).toBeUndefined()
    expect((await banger(place, ["ps"])).stdout).toContain("running, unsupervised")
    const supervised = await banger(place, ["supervise", "--detach", "double"])
    expect(supervised).toMatchObject({ stdout: "double\n", exit: 0 })
    const [again] = await listed(place)
    expect(again).toMatchObject({ id: vm?.id, pid: vm?.pid, state: "running" })
    expect(again?.supervisor).not.toBe(vm?.supervisor)
    const second = await banger(place, ["supervise", "double"])
    expect(second).toMatchObject({ exit: 1 })
    expect(second.stderr).toContain("has a supervisor")
    const waiting = start(place, ["wait", "double"])
    signal(vm?.pid, "SIGKILL")
    const { stdout, exit } = await waiting.ended
    expect(stdout).toContain("killed (SIGKILL)")
    expect(exit).toBe(1)
    expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
  },
)
