import { expect, test } from "bun:test"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { must } from "./support/host.ts"

const script = join(import.meta.dir, "../../scripts/host")
const runs = dirname(process.env.BANGER_TEST_HOST ?? "")

/** The processes of hosts other than this run's: QEMU's directory is in its command line. */
function processesOf(directory: string): readonly string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  return pids.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(`${directory}/qmp`)
    } catch {
      return false
    }
  })
}

async function begin(): Promise<{ child: Bun.Subprocess; directory: string }> {
  const before = readdirSync(runs)
  const child = Bun.spawn([script, "run", "true"], { stdout: "ignore", stderr: "ignore", env: process.env })
  for (;;) {
    const directory = readdirSync(runs).find((name) => !before.includes(name))
    if (directory !== undefined && processesOf(join(runs, directory)).length === 2)
      return { child, directory: join(runs, directory) }
    await Bun.sleep(50)
  }
}

async function expectGone(directory: string): Promise<void> {
  for (let tries = 0; tries < 100 && processesOf(directory).length > 0; tries++) await Bun.sleep(100)
  expect(processesOf(directory)).toEqual([])
}

test("a host ends with the script that booted it, whatever ends that; nothing is left of it", async () => {
  const first = await begin()
  first.child.kill("SIGTERM")
  await first.child.exited
  await expectGone(first.directory)
  expect(existsSync(first.directory)).toBe(false)

  const second = await begin()
  second.child.kill("SIGKILL")
  await second.child.exited
  await expectGone(second.directory)
  // Its directory goes when the next one comes, which leaves this run's host alone.
  const third = await begin()
  expect(existsSync(second.directory)).toBe(false)
  third.child.kill("SIGTERM")
  await third.child.exited
  await expectGone(third.directory)
  expect(await must("id -u")).toBe("0\n")
}, 60_000)

test("a host has systemd, cgroup v2 alone, KVM and no network beyond itself", async () => {
  expect(await must("systemctl is-system-running")).toBe("running\n")
  expect(await must("stat -f -c %T /sys/fs/cgroup")).toBe("cgroup2fs\n")
  expect(await must("cat /sys/fs/cgroup/cgroup.controllers")).toMatch(/cpu.* io .*memory.*pids/)
  expect(await must("[ -c /dev/kvm ] && sudo -u alice sh -c '[ -w /dev/kvm ]' && echo usable")).toBe("usable\n")
  expect(await must("timeout 3 bash -c '</dev/tcp/10.0.2.2/22' 2> /dev/null || echo closed")).toBe("closed\n")
})
