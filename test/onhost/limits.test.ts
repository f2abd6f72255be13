import { expect, test } from "bun:test"
import { eachOnHost, fixture, must, run, until } from "./support/host.ts"

eachOnHost()

async function boot(script: string, spec: object): Promise<string> {
  const words = `'${script}' '${JSON.stringify({ accel: "auto", ...spec })}'`
  await must(`banger run ${fixture("guest")} --name web --detach -- ${words}`)
  await until("banger logs web | grep -q ^up")
  const [vm] = JSON.parse(await must("banger ps --json"))
  return `/sys/fs/cgroup/banger/${vm.id}`
}

test("the kernel's own controllers keep a VM's limits, and set changes them", async () => {
  const limits = { memory: "400M", cpus: 0.5, pids: 100 }
  const cgroup = await boot("echo up; while :; do :; done", { limits })
  const read = (file: string) => must(`cat ${cgroup}/${file}`).then((text) => text.trim())
  expect(await read("memory.max")).toBe(String(400 * 1024 ** 2))
  expect(await read("cpu.max")).toBe("50000 100000")
  expect(await read("pids.max")).toBe("100")
  expect(Number(await read("memory.current"))).toBeGreaterThan(20 * 1024 ** 2)
  // Its guest never rests, so the limit holds it back.
  await until(`[ "$(sed -n 's/^nr_throttled //p' ${cgroup}/cpu.stat)" -gt 5 ]`)
  await must("banger set web limits.cpus=2 limits.memory=500M limits.pids=90")
  expect(await must(`cat ${cgroup}/cpu.max ${cgroup}/memory.max ${cgroup}/pids.max`)).toBe(
    `200000 100000\n${500 * 1024 ** 2}\n90\n`,
  )
  const refused = await run("banger set web limits.pids=1")
  expect(refused.exit).not.toBe(0)
  await must("banger kill web")
}, 90_000)

test("a VMM that takes more memory than it may is ended by the kernel, which is a failure", async () => {
  // The guest's own memory is below the limit; with QEMU's it is not.
  const full = "mount -t tmpfs -o size=100% full /tmp; dd if=/dev/zero of=/tmp/full bs=1M count=180"
  const spec = JSON.stringify({ accel: "auto", limits: { memory: "257M" } })
  const { stderr, exit } = await run(`banger run ${fixture("guest")} --name full -- 'echo up; ${full}' '${spec}'`)
  expect(stderr).toContain("the VM ended badly: killed (SIGKILL)")
  expect(exit).toBe(1)
  expect(await must("journalctl --dmesg --boot --no-pager --output=cat")).toContain("oom_memcg=/banger/full-")
}, 90_000)
