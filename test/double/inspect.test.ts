import { expect, test } from "bun:test"
import { banger } from "../system/support/banger.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot } from "./support/vms.ts"

const place = eachOnDoubles()
const inspected = async () => JSON.parse((await banger(place, ["inspect", "double"])).stdout)
const NOTHING = { vmmConfig: null, balloonStatistics: null, memoryHotplug: null }

test("inspect tells what a running Firecracker says of itself; when it has ended, that it has", async () => {
  const balloon = { amount_mib: 8, deflate_on_oom: true, stats_polling_interval_s: 1 }
  const firecracker = { balloon, memory_hotplug: { total_size_mib: 256 }, vsock: { guest_cid: 9 } }
  await boot(place, { vcpus: 2, firecracker })
  const { vmmConfig, balloonStatistics, memoryHotplug, vmmWhy } = await inspected()
  expect(vmmWhy).toBeUndefined()
  expect(vmmConfig).toMatchObject({ balloon, vsock: { guest_cid: 9 }, "machine-config": { vcpu_count: 2 } })
  expect(vmmConfig["memory-hotplug"]).toEqual({ total_size_mib: 256, block_size_mib: 2, slot_size_mib: 128 })
  expect(balloonStatistics).toMatchObject({ target_mib: 8 })
  expect(memoryHotplug).toMatchObject({ total_size_mib: 256, plugged_size_mib: 0 })
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect(await inspected()).toMatchObject({ ...NOTHING, vmmWhy: "it has ended" })
})

test("a VM without a balloon or more memory has nothing to tell of them", async () => {
  await boot(place)
  const { balloonStatistics, memoryHotplug, vmmWhy } = await inspected()
  expect({ balloonStatistics, memoryHotplug, vmmWhy }).toEqual({
    balloonStatistics: null,
    memoryHotplug: null,
    vmmWhy: undefined,
  })
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
})

test("a Firecracker that does not answer is not waited for", async () => {
  const { pid } = await boot(place)
  process.kill(pid, "SIGSTOP")
  const before = Date.now()
  const { vmmWhy, state, ...rest } = await inspected()
  expect({ state, ...rest }).toMatchObject({ ...NOTHING, state: "running" })
  expect(vmmWhy).toBe("vm/config: Firecracker did not answer GET /vm/config in 2s")
  expect(Date.now() - before).toBeLessThan(8000)
  process.kill(pid, "SIGCONT")
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
})
