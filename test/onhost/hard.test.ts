import { afterAll, afterEach, expect, test } from "bun:test"
import { eachOnHost, GIVEN, must, put, run, until } from "./support/host.ts"

// What goes wrong on hosts that people have: services restarted by storms, a full /run, a /var that cannot be written.

eachOnHost()

const PLUGIN = "/etc/banger/vms/hard.ts"
const SOURCE = `import { definePlugin } from "banger"

export default definePlugin({
  kernel: "${GIVEN}/dist/guest/vmlinuz",
  initrd: "${GIVEN}/dist/guest/initrd.img",
  bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off",
  vmm: "qemu",
  postStop: (ctx) => ctx.log.info("postStop of " + ctx.vm.id),
})
`
const undo = "umount /var/lib/banger; rm -f /run/full"
const listed = async (...words: string[]) =>
  JSON.parse(await must(`banger ps --json ${words.join(" ")}`)) as readonly {
    id: string
    name: string
    state: string
  }[]

afterEach(() => run(undo))
afterAll(() => must("banger system install --remove; rm -rf /etc/banger/vms; true"))

test("a storm of restarts leaves one VM, and of each other one postStop", async () => {
  await put(PLUGIN, SOURCE)
  await must("banger system install && systemctl start banger@hard")
  for (let round = 0; round < 12; round++) {
    await must("systemctl restart --no-block banger@hard")
    await Bun.sleep(1500 * Math.random())
  }
  await until('[ "$(systemctl show -p ActiveState --value banger@hard)" = active ]', 90_000)
  expect(await listed()).toMatchObject([{ name: "hard", state: "running" }])
  await must("systemctl stop banger@hard", { timeoutMs: 90_000 })
  const [every, said] = [await listed("--all"), await must("journalctl -b -u banger@hard -o cat --no-pager")]
  expect(every.length).toBeGreaterThan(1)
  for (const { id, state } of every) {
    const times = said.split("\n").filter((line) => line.endsWith(`postStop of ${id}`)).length
    expect({ id, state, times }).toEqual({ id, state: expect.stringMatching(/^(stopped|failed)$/), times: 1 })
  }
}, 300_000)

test("with /run full a VM that runs is seen and stopped, and a start is refused with nothing left", async () => {
  await put(PLUGIN, SOURCE)
  await must(`banger run ${PLUGIN} --name before --detach`)
  await must("fallocate -l $(( ($(stat -f -c '%a * %S' /run)) )) /run/full || dd if=/dev/zero of=/run/full || true")
  expect(await must("df --output=avail /run | tail -n 1")).toMatch(/^ *0$/m)
  const { stderr, exit } = await run(`banger run ${PLUGIN} --name late`)
  expect({ stderr, exit }).toMatchObject({ stderr: expect.stringContaining("No space left on device") })
  expect(exit).not.toBe(0)
  expect(await listed()).toMatchObject([{ name: "before", state: "running" }])
  expect(await must("banger stop before 2>&1")).toContain("has ended")
  expect(await listed()).toEqual([])
  await must("rm /run/full")
  await must("banger rm --all; banger sweep")
}, 180_000)

test("where the state cannot be written, VMs are listed and stopped, and a start is refused", async () => {
  await put(PLUGIN, SOURCE)
  await must(`banger run ${PLUGIN} --name before --detach`)
  await must("mount --bind /var/lib/banger /var/lib/banger && mount -o remount,bind,ro /var/lib/banger")
  const { stderr, exit } = await run(`banger run ${PLUGIN} --name late`)
  expect({ stderr, exit }).toMatchObject({ stderr: expect.stringContaining("/var/lib/banger") })
  expect(exit).not.toBe(0)
  const list = await run("banger ps --json")
  expect(list).toMatchObject({ exit: 0, stdout: expect.stringContaining('"before"') })
  const stopped = await run("banger stop before", { timeoutMs: 90_000 })
  console.log(JSON.stringify({ stderr, stopped }))
  await must("umount /var/lib/banger")
  await must("banger ps --reconcile > /dev/null; banger sweep")
  expect(await listed()).toEqual([])
}, 180_000)
