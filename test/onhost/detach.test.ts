import { expect, test } from "bun:test"
import { firecrackerTest } from "./support/firecracker.ts"
import { eachOnHost, fixture, GIVEN, must, run, until } from "./support/host.ts"

eachOnHost()

/** Boots a guest in the background by a login that ends then, and asserts what its processes are; stops it. */
async function outlivesItsLogin(vmm: "qemu" | "firecracker"): Promise<void> {
  // Firecracker would have it unpacked first, which takes seconds under emulation.
  const kernel = `${GIVEN}/dist/guest/${vmm === "qemu" ? "vmlinuz" : "vmlinux"}`
  const spec = JSON.stringify({ vmm, kernel, accel: "auto" })
  await must(`banger run ${fixture("guest")} --name web --detach -- 'echo up; sleep 600' '${spec}'`, { login: true })
  await until("banger logs web | grep -q ^up")
  const [vm] = JSON.parse(await must("banger ps --json"))
  expect(vm).toMatchObject({ name: "web", state: "running", liveness: "alive", vmm })
  // Jailed: a root, a uid and a cgroup of its own. By KVM, though the guest is emulated elsewhere.
  const told = await must(
    `cd /proc/${vm.pid}; ls root | grep -c -x -e etc -e usr; stat -c %u .; cat cgroup; ls -l fd | grep -c anon_inode:kvm-vm$`,
  )
  const [systemDirectories, uid, cgroup, kvm] = told.trim().split("\n")
  expect({ systemDirectories, cgroup, kvm }).toEqual({
    systemDirectories: "0",
    cgroup: `0::/banger/${vm.id}`,
    kvm: "1",
  })
  expect(Number(uid)).toBeGreaterThan(1000)
  const stopped = await run("banger stop web")
  expect(stopped.exit).toBe(0)
  expect(JSON.parse(await must("banger ps --json"))).toEqual([])
}

test("a detached VM on QEMU outlives its login; ps shows it, stop ends it", () => outlivesItsLogin("qemu"), 90_000)

firecrackerTest("so does one on Firecracker", () => outlivesItsLogin("firecracker"), 90_000)
