import { afterAll, expect, test } from "bun:test"
import { eachOnHost, must, put, run } from "./support/host.ts"
import { asItWas, detached, plugin } from "./support/services.ts"

eachOnHost()
afterAll(asItWas)

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
