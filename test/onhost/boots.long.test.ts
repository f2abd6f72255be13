import { afterAll, expect, test } from "bun:test"
import { cutPower, eachOnHost, must, put, reboot, run, until } from "./support/host.ts"
import { asItWas, journal, plugin, running } from "./support/services.ts"

eachOnHost()
afterAll(asItWas)

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
