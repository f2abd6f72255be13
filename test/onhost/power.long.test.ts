import { expect, test } from "bun:test"
import { hasFirecracker } from "./support/firecracker.ts"
import { cutPower, eachOnHost, GIVEN, must, put, run } from "./support/host.ts"

eachOnHost()

const PLUGIN = "/root/power.ts"
const SOURCE = `import { appendFile } from "node:fs/promises"
import { definePlugin } from "banger"

export default definePlugin({
  kernel: "${GIVEN}/dist/guest/vmlinux",
  initrd: "${GIVEN}/dist/guest/initrd.img",
  network: true,
  async postStop(ctx) {
    await appendFile("/root/postStop", ctx.vm.name + ": " + ctx.exit.reason + "\\n")
  },
})
`
const VMMS = hasFirecracker ? ["qemu", "firecracker"] : ["qemu"]

const listed = async (...words: string[]) => {
  const { stdout, stderr, exit } = await run(`banger ps --json ${words.join(" ")}`)
  if (stdout === "") throw new Error(`ps ${words.join(" ")} printed nothing, and ended with ${exit}: ${stderr}`)
  return JSON.parse(stdout) as { name: string; state: string; liveness: string; why?: string; exit?: object }[]
}
const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).sort()

test("what a power cut leaves of running VMs the next banger finishes: postStop once, nothing leaked", async () => {
  await put(PLUGIN, SOURCE)
  // The plugin's file is its user's to keep. What banger needs to know is on the disk when a VM runs.
  await must(`sync ${PLUGIN}`)
  for (const vmm of VMMS) await must(`banger run ${PLUGIN} --vmm ${vmm} --name ${vmm} --detach`)
  await cutPower()

  expect(await must("journalctl -b --no-pager -o cat -u systemd-fsck-root.service")).not.toMatch(/ERROR|UNEXPECTED/)
  const left = await listed()
  expect(names(left)).toEqual(VMMS.toSorted())
  for (const vm of left)
    expect(vm).toMatchObject({ state: "running", liveness: "dead", why: "the host was rebooted since" })
  expect(await listed("--reconcile")).toEqual([])
  for (const vm of await listed("--all")) expect(vm).toMatchObject({ state: "failed", exit: { reason: "lost" } })
  await must("banger sweep")
  const noted = (await must("cat /root/postStop")).trim().split("\n")
  expect(noted.sort()).toEqual(VMMS.map((vmm) => `${vmm}: lost`).sort())
  expect(await must("banger net ls --json")).toContain('"leases": []')
  await must(`rm ${PLUGIN} /root/postStop`)
}, 240_000)

/** How many times the power is cut at a moment of chance. */
const CUTS_COUNT = Number(process.env.BANGER_TEST_POWER_CUTS ?? 3)

test(
  `power cut at ${CUTS_COUNT} moments of a start, a run and a stop leaves what the next banger finishes`,
  async () => {
    await put(PLUGIN, SOURCE)
    await must(`sync ${PLUGIN}`)
    for (let cut = 0; cut < CUTS_COUNT; cut++) {
      const name = `cut${cut}`
      const vmm = VMMS[cut % VMMS.length]
      // Where the moment falls into the start, the run or the stop, is chance's.
      const [stop, moment] = [1.5 * Math.random(), 5000 * Math.random()]
      const words = `banger run ${PLUGIN} --vmm ${vmm} --name ${name} --detach; sleep ${stop}; banger stop ${name}`
      await must(`setsid sh -c '${words}' > /dev/null 2>&1 < /dev/null &`)
      await Bun.sleep(moment)
      const before = await listed("--all").catch(() => [])
      await cutPower()
      const told = `${name} on ${vmm}, cut after ${Math.round(moment)} ms, ${JSON.stringify(before.map(({ state }) => state))}`
      console.log(told)
      const fsck = await must("journalctl -b --no-pager -o cat -u systemd-fsck-root.service")
      expect({ told, fsck }).toEqual({ told, fsck: expect.not.stringMatching(/ERROR|UNEXPECTED/) })
      const { exit, stderr } = await run("banger sweep")
      expect({ told, exit, stderr }).toMatchObject({ exit: 0 })
      expect({ told, left: await listed() }).toEqual({ told, left: [] })
      const ended = (await run("cat /root/postStop")).stdout.split("\n").filter((line) => line.startsWith(`${name}:`))
      expect({ told, ended: ended.length <= 1 }).toEqual({ told, ended: true })
      expect(await must("banger net ls --json")).toContain('"leases": []')
    }
    await must(`rm -f ${PLUGIN} /root/postStop`)
  },
  CUTS_COUNT * 90_000,
)
