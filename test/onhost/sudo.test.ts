import { expect, test } from "bun:test"
import { eachOnHost, GIVEN, must, put, run, until } from "./support/host.ts"

eachOnHost()

const PLUGIN = `import { definePlugin } from "banger"

export default definePlugin({
  name: "hers",
  kernel: "${GIVEN}/dist/guest/vmlinuz",
  initrd: "${GIVEN}/dist/guest/initrd.img",
  bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off",
  vmm: "qemu",
  async preBoot(ctx) {
    ctx.drives.add({ path: await ctx.stage.write("job.sh", "#!/bin/sh\\necho up; sleep 600\\n"), readonly: true })
  },
  postBoot: (ctx) => ctx.log.info("postBoot of uid " + process.getuid()),
})
`

const alice = { user: "alice", login: true } as const

/** Boots alice's VM by the host's own sudo, and asserts whose it is. */
async function boots(): Promise<string> {
  // A host in a QEMU has no KVM that runs Firecracker.
  await must("mkdir -p /etc/banger && echo 'sudoQemu = true' > /etc/banger/config.toml")
  await put("hers.ts", PLUGIN, { user: "alice" })
  const { stderr, exit } = await run("banger run --detach hers.ts", alice)
  expect({ exit, told: stderr.includes("postBoot of uid 1000") || stderr }).toEqual({ exit: 0, told: true })
  const [vm] = JSON.parse(await must("banger ps --json"))
  expect(vm).toMatchObject({ name: "hers", owner: 1000, state: "running", liveness: "alive" })
  const cgroups = await must(`cat /proc/${vm.pid}/cgroup /proc/${vm.supervisor}/cgroup`)
  expect(cgroups).toBe(`0::/banger/${vm.id}\n0::/banger-supervisors\n`)
  return vm.id
}

test("a user who may sudo has a VM in a jail of root's, which her own banger sees and stops", async () => {
  const id = await boots()
  expect(await must("banger ps -q", alice)).toBe(`${id}\n`)
  await until("banger logs hers | grep -q ^up")
  expect(await must("banger stop hers 2>&1", alice)).toContain("has ended")
  expect(JSON.parse(await must("banger ps --json"))).toEqual([])
}, 180_000)

test("it outlives her login; once all her processes are ended it is stopped, and nothing of it is left", async () => {
  const id = await boots()
  await must("pkill -KILL -u alice")
  await until('[ -z "$(banger ps -q)" ]', 60_000)
  const { state, exit } = JSON.parse(await must(`banger inspect ${id}`))
  expect({ state, exit }).toMatchObject({ state: "stopped", exit: { reason: "guest reset", requested: true } })
}, 180_000)
