import { afterAll, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { eachOnHost, must, put, run, until } from "./support/host.ts"
import { asItWas, detached, journal, plugin, running } from "./support/services.ts"

eachOnHost()
afterAll(asItWas)

/** The commands of docs/systemd.md, in order. */
const [, COMMANDS = ""] =
  /^```sh\n(.*?)^```$/ms.exec(readFileSync(join(import.meta.dir, "../../docs/systemd.md"), "utf8")) ?? []

test("every command of docs/systemd.md does what it says", async () => {
  await put("/etc/banger/vms/web.ts", plugin())
  const lines = COMMANDS.trimEnd().split("\n")
  expect(lines.length).toBeGreaterThan(3)
  for (const line of lines) {
    if (line.startsWith("banger system install --remove")) await must("systemctl disable --now banger@web")
    const { stdout, stderr, exit } = await run(line)
    expect({ line, stdout, stderr, exit }).toMatchObject({ line, exit: 0 })
    if (line.startsWith("systemctl enable")) await until("journalctl -b -u banger@web -o cat | grep -q 'tick 1'")
    if (line.startsWith("journalctl")) expect(stdout).toContain("tick 1")
  }
  expect(await must("ls /etc/systemd/system | grep banger || true")).toBe("")
}, 120_000)

test("a service keeps its guest over 20 kills of its supervisor; its journal has each line once", async () => {
  await put("/etc/banger/vms/kept.ts", plugin())
  await must("banger system install")
  expect(
    await must(
      "systemd-analyze verify banger@kept.service banger-boot.service banger-shutdown.service banger-sweep.timer 2>&1",
    ),
  ).toBe("")
  await must("systemctl start banger@kept")
  const [vm] = await running()
  expect(await must("systemctl show -p StatusText --value banger@kept")).toBe(`kept: running (${vm?.id})\n`)
  await until("journalctl -b -u banger@kept -o cat | grep -q 'tick 3'")
  for (let round = 1; round <= 20; round++) {
    await must("systemctl kill --signal KILL --kill-who main banger@kept")
    await until(`[ "$(systemctl show -p NRestarts -p ActiveState --value banger@kept | xargs)" = "${round} active" ]`)
    expect(await running()).toEqual([vm ?? { name: "", id: "" }].map((one) => expect.objectContaining({ id: one.id })))
  }
  await must("systemctl stop banger@kept")
  expect(await must("systemctl is-failed banger@kept || true")).toBe("inactive\n")
  const lines = (await journal("banger@kept")).split("\n")
  expect(lines.filter((line) => line.startsWith("boot id "))).toHaveLength(1)
  const ticks = lines.flatMap((line) => (/^tick \d+$/.test(line) ? [Number(line.slice(5))] : []))
  expect(ticks.length).toBeGreaterThan(50)
  expect(ticks).toEqual(ticks.map((_, index) => index))
  expect(lines.filter((line) => line.includes("postStop of"))).toHaveLength(1)
}, 400_000)

test("a detached VM outlives the service that started it, with what its hooks have started", async () => {
  await put(
    "/root/plain.ts",
    plugin().replace(
      "async preBoot(ctx) {",
      'async preBoot(ctx) {\n    Bun.spawnSync(["cp", "/proc/self/cgroup", "/root/at"])',
    ),
  )
  await must("systemd-run -q --unit caller sh -c 'banger run --detach /root/plain.ts --name root; sleep 1000'")
  await until("journalctl -b -u caller -o cat | grep -q '^root$'", 60_000)
  await must("systemctl stop caller")
  const vm = await detached()
  const scope = `/system.slice/banger-${vm.id}.scope`
  expect(vm).toMatchObject({ cgroup: `/banger/${vm.id}`, supervisorCgroup: scope })
  expect(await must("cat /root/at")).toBe(`0::${scope}\n`)
  expect(await must("banger stop root 2>&1")).toContain("has ended")
  await until(`! systemctl is-active banger-${vm.id}.scope`)
}, 180_000)
