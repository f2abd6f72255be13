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
const undo = "umount /var/lib/banger; umount --lazy /run/banger"
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

test("with /run full a VM that runs is seen and stopped; a start that needs no more of it runs, another is refused whole", async () => {
  await put(PLUGIN, SOURCE)
  // As /run is, but small: a host whose /run itself is full does more than banger can be tried by.
  await must("mkdir -p /run/banger; mount -t tmpfs -o size=256k,nr_inodes=64,mode=1711 tmpfs /run/banger")
  await must(`banger run ${PLUGIN} --name before --detach`)
  await must("dd if=/dev/zero of=/run/banger/full bs=4k 2> /dev/null || true")
  expect(await must("df --output=avail /run/banger | tail -n 1")).toMatch(/^ *0$/m)
  await must(`banger run ${PLUGIN} --name meanwhile --detach`)
  // Sockets and directories need no blocks, but inodes.
  await must("rm /run/banger/full; i=0; while : > /run/banger/full.$i; do i=$((i + 1)); done 2> /dev/null; true")
  const { stderr, exit } = await run(`banger run ${PLUGIN} --name late`)
  await must("rm /run/banger/full.*")
  expect({ stderr, exit }).toMatchObject({
    exit: 1,
    stderr: expect.stringMatching(/no space left.*\/run\/banger\/late.*\n.*make room/i),
  })
  expect((await listed()).map(({ name, state }) => `${name} ${state}`).sort()).toEqual([
    "before running",
    "meanwhile running",
  ])
  expect(await must("banger stop --all 2>&1")).toContain("has ended")
  expect(await listed()).toEqual([])
  await must("banger rm --all; banger sweep; umount /run/banger")
}, 180_000)

test("where the state cannot be written, VMs are listed; a start and a stop are refused whole, and the VM goes on", async () => {
  await put(PLUGIN, SOURCE)
  await must(`banger run ${PLUGIN} --name before --detach`)
  await must("mount --bind /var/lib/banger /var/lib/banger && mount -o remount,bind,ro /var/lib/banger")
  for (const words of [`run ${PLUGIN} --name late`, "stop before"]) {
    const { stderr, exit } = await run(`banger ${words}`)
    expect({ words, stderr, exit }).toMatchObject({
      ...{ words, exit: 1 },
      stderr: expect.stringMatching(/\/var\/lib\/banger.*Read-only file system\n.*findmnt -T /),
    })
  }
  const { stdout, exit } = await run("banger ps --json")
  expect({ exit, list: JSON.parse(stdout) }).toMatchObject({ exit: 0, list: [{ name: "before", liveness: "alive" }] })
  await must("umount /var/lib/banger")
  expect(await must("banger stop before 2>&1")).toContain("has ended")
  await must("banger rm --all; banger sweep")
}, 180_000)
