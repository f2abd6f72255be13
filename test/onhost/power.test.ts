import { expect, test } from "bun:test"
import { cutPower, eachOnHost, fixture, must, put, run, until } from "./support/host.ts"

eachOnHost()

const plugin = "/root/power.ts"

test("what a power cut leaves of a run, the next banger finishes: postStop once, no jail, no lease", async () => {
  const source = await must(`sed 's#\\.\\./\\.\\./\\.\\./dist#/mnt/dist#' ${fixture("guest")}`)
  const noted = "ctx.log.info(`postStop: ${ctx.exit.reason}`)"
  expect(source).toContain(noted)
  const note = `await (await import("node:fs/promises")).appendFile("/root/postStop", ctx.exit.reason + "\\n")`
  await put(plugin, source.replace(noted, note))
  const spec = JSON.stringify({ accel: "auto", network: true })
  await must(`banger run ${plugin} --name web --detach -- 'echo up; sleep 600' '${spec}'`)
  await until("banger logs web | grep -q ^up")
  // The record is on the disk by then; the plugin, which the test wrote, must be too.
  await must("sync")
  const boot = await must("cat /proc/sys/kernel/random/boot_id")

  await cutPower()
  expect(await must("cat /proc/sys/kernel/random/boot_id")).not.toBe(boot)
  expect(await must("journalctl -b -u systemd-fsck-root.service --no-pager -o cat")).not.toMatch(/ERROR|UNEXPECTED/)
  const before = JSON.parse((await run("banger ps --json")).stdout)
  console.log(before)
  const finished = await run("banger ps --reconcile --json")
  console.log(finished)
  expect(JSON.parse(finished.stdout)).toEqual([])
  expect((await must("cat /root/postStop")).trim().split("\n")).toHaveLength(1)
  const [vm] = JSON.parse(await must("banger ps --all --json"))
  console.log(vm)
  await must("banger sweep")
  expect((await must("cat /root/postStop")).trim().split("\n")).toHaveLength(1)
  await must(`rm ${plugin} /root/postStop`)
}, 240_000)
