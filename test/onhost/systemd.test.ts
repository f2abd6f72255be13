import { afterAll, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { cutPower, eachOnHost, GIVEN, type Manner, must, put, reboot, run, until } from "./support/host.ts"

eachOnHost()

/** Leaves the host as it was for the files after this one. */
afterAll(() =>
  must(
    "banger system install --remove; rm -rf /etc/banger/vms; loginctl disable-linger alice; rm -rf ~alice/.config/banger; true",
  ),
)

const plugin = (more = "") => `import { definePlugin } from "banger"

const script = \`#!/bin/sh
echo "boot id $(cat /proc/sys/kernel/random/boot_id)"
i=0; while :; do echo "tick $i"; i=$((i + 1)); sleep 0.2; done
\`

export default definePlugin({
  kernel: "${GIVEN}/dist/guest/vmlinuz",
  initrd: "${GIVEN}/dist/guest/initrd.img",
  bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off",
  vmm: "qemu",
  ${more}
  async preBoot(ctx) {
    ctx.drives.add({ id: "job", path: await ctx.stage.write("job.sh", script), readonly: true })
  },
  postStop: (ctx) => ctx.log.info("postStop of " + ctx.vm.id),
})
`

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

const journal = (unit: string) => must(`journalctl -b -u ${unit} -o cat --no-pager`)
const running = async () => JSON.parse(await must("banger ps --json")) as readonly { name: string; id: string }[]

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

/** What `banger ps --json` tells of the only VM, and which cgroup that and its supervisor are in. */
async function detached(manner?: Manner) {
  const [vm] = JSON.parse(await must("banger ps --json", manner))
  const cgroupOf = async (pid: number) => (await must(`cat /proc/${pid}/cgroup`)).trim().replace(/^0::/, "")
  return { ...vm, cgroup: await cgroupOf(vm.pid), supervisorCgroup: await cgroupOf(vm.supervisor) }
}

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

/** Has alice's VMs be her own, without root's help. */
async function withoutSudo(): Promise<void> {
  await put(".config/banger/config.toml", "sudo = false\n", { user: "alice" })
}

test("a detached VM of a user who lingers outlives a login, a takeover, and a stop of its supervisor's scope", async () => {
  await must("loginctl enable-linger alice")
  await withoutSudo()
  await put("plain.ts", plugin(), { user: "alice" })
  const alice = { user: "alice", login: true } as const
  const { stderr, exit } = await run("banger run --detach plain.ts --name alice", alice)
  expect({ exit, stays: stderr.includes("stays in") }).toEqual({ exit: 0, stays: false })
  const vm = await detached(alice)
  const scope = (what = "") => `/user.slice/user-1000.slice/user@1000.service/app.slice/banger-${vm.id}${what}.scope`
  expect(vm).toMatchObject({ cgroup: scope("-vmm"), supervisorCgroup: scope() })

  // Something is left in the scope.
  await must("systemd-run --user -q --unit held sleep 1000", alice)
  await must(`systemctl --user show -p MainPID --value held > /sys/fs/cgroup${scope()}/cgroup.procs`, alice)
  await must(`kill -9 ${vm.supervisor}`, alice)
  const job = "systemd-run --user -q --unit job sh -c 'banger supervise --detach alice > job.log; sleep 1000'"
  await must(`${job}; until grep -q alice job.log; do sleep 0.2; done; systemctl --user stop job`, alice)
  const taken = await detached(alice)
  expect(taken).toMatchObject({ id: vm.id, pid: vm.pid, cgroup: scope("-vmm"), supervisorCgroup: scope("-2") })
  await must(`systemctl --user stop banger-${vm.id}.scope`, alice)
  expect(await detached(alice)).toEqual({ ...taken, runningForMs: expect.any(Number) })

  await must(`systemctl --user stop banger-${vm.id}-2.scope`, alice)
  const { state, exit: how } = JSON.parse(await must(`banger inspect ${vm.id}`, alice))
  expect({ state, how }).toMatchObject({ state: "stopped", how: { reason: "guest reset", requested: true } })
  expect(await must(`grep -c 'postStop of' .local/state/banger/vms/${vm.id}/supervisor.log`, alice)).toBe("1\n")
  expect(await must("systemctl --user list-units --no-legend 'banger-*.scope'", alice)).toBe("")
}, 400_000)

test("a user's guests end by themselves when their manager goes; who does not linger is told", async () => {
  const alice = { user: "alice", login: true } as const
  await withoutSudo()
  await must("banger run --detach plain.ts --name alice", alice)
  const vm = await detached(alice)
  await must("systemctl stop user@1000.service")
  const { state, exit } = JSON.parse(await must(`banger inspect ${vm.id}`, alice))
  expect({ state, exit }).toMatchObject({ state: "stopped", exit: { reason: "guest reset", requested: true } })

  await must("systemctl start user@1000.service; loginctl disable-linger alice")
  const { stderr: told } = await run("banger run --detach plain.ts --name alice", alice)
  expect(told).toContain("the supervisor stays in /user.slice/user-1000.slice/session-")
  await must("banger stop alice; banger rm --all", alice)
}, 400_000)

test("after a loss of power what is to run always runs again, and nothing else; a shutdown stops all", async () => {
  await must("banger system install; systemctl -q enable --now banger-boot")
  for (const [name, restart] of Object.entries({
    all: "always",
    unless: "unless-stopped",
    no: "no",
    ended: "unless-stopped",
  })) {
    await put(`/root/${name}.ts`, plugin(`restart: "${restart}",`))
    await must(`banger run --detach /root/${name}.ts --name ${name}`)
  }
  // It was run, and cannot be started again: the others have their end in time all the same.
  await put("/root/gone.ts", plugin('restart: "always",'))
  await must("banger run --detach /root/gone.ts; rm /root/gone.ts; banger stop ended; sync")
  await cutPower()
  await until("systemctl is-failed banger-boot", 90_000)
  expect(await must("systemctl is-active banger-shutdown")).toBe("active\n")
  expect((await running()).map(({ name }) => name).sort()).toEqual(["all", "unless"])
  const finished = [...(await journal("banger-boot")).matchAll(/postStop of (?:all|unless|no)-/g)]
  expect(finished.map(([text]) => text).sort()).toEqual(["all", "no", "unless"].map((name) => `postStop of ${name}-`))
  await must("systemctl stop banger-shutdown", { timeoutMs: 200_000 })
  expect(await running()).toEqual([])
  expect((await run("systemctl start banger-boot")).exit).toBe(1)
  expect((await running()).map(({ name }) => name).sort()).toEqual(["all", "unless"])
  await must("banger stop --all; banger rm gone; systemctl -q disable --now banger-boot banger-shutdown")
}, 400_000)

test("a host that reboots has its guests end by themselves, and starts again what is to run always, in order", async () => {
  await must("banger system install; systemctl -q enable --now banger-boot")
  await put("/etc/banger/vms/service.ts", plugin())
  await must("systemctl -q enable --now banger@service")
  for (const [name, more] of Object.entries({
    web: 'restart: "always", after: ["db"],',
    db: 'restart: "always",',
    no: "",
  })) {
    await put(`/root/${name}.ts`, plugin(more))
    await must(`banger run --detach /root/${name}.ts --name ${name}`)
  }
  const before = await running()
  expect(before.map(({ name }) => name).sort()).toEqual(["db", "no", "service", "web"])
  await reboot()
  await until("systemctl is-active banger-boot banger@service", 90_000)
  for (const { id } of before) {
    const { state, exit } = JSON.parse(await must(`banger inspect ${id}`))
    expect({ id, state, exit }).toMatchObject({ state: "stopped", exit: { requested: true } })
    const said = `{ cat /var/lib/banger/vms/${id}/supervisor.log; journalctl -b -1 -o cat --no-pager; } 2> /dev/null`
    expect(await must(`${said} | grep -c 'postStop of ${id}' || true`)).toBe("1\n")
  }
  const after = await running()
  expect(after.map(({ name }) => name).sort()).toEqual(["db", "service", "web"])
  const at = async (name: string, state: string) => {
    const id = after.find((vm) => vm.name === name)?.id
    const lines = await must(`grep '"${state}"' /var/lib/banger/vms/${id}/events.jsonl`)
    return Number(JSON.parse(lines.split("\n")[0] ?? "").atMs)
  }
  expect(await at("web", "creating")).toBeGreaterThanOrEqual(await at("db", "running"))
  await must(
    "systemctl -q disable --now banger@service; banger stop --all; systemctl -q disable --now banger-boot banger-shutdown",
  )
}, 400_000)
