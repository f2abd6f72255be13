import { afterEach, expect, test } from "bun:test"
import { chmodSync, chownSync, existsSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { judgeKvm } from "../../src/host/kvm/judge.ts"
import { thisKvmHost } from "../../src/host/kvm/thisHost.ts"
import { type Examination, examinationSchema } from "../../src/upkeep/doctor/finding.ts"
import { banger } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"

// The faults are made on this machine itself: in this test's own mount and network namespace, by binding files over what
// the kernel says, and by mounts and rules that are taken away after each test.

const undo: string[][] = []
// Added before the place's own, so that it runs before that one looks whether anything is left.
afterEach(() => {
  for (const argv of undo.splice(0).reverse()) expect(Bun.spawnSync(argv).exitCode).toBe(0)
})
const place = eachInItsPlace()

async function doctor(env: Record<string, string> = {}): Promise<Examination & { exit: number | null }> {
  const { stdout, stderr, exit } = await banger(place, ["doctor", "--json"], env)
  const examination = v.parse(examinationSchema, JSON.parse(stdout))
  // A host that fails a check is told as a failure too, and as nothing else.
  if (examination.is === "fail") expect(JSON.parse(stderr)).toMatchObject({ error: { code: "HOST_LACKS", exit } })
  else expect(stderr).toBe("")
  return { ...examination, exit }
}

async function findingOf(id: string, env: Record<string, string> = {}) {
  return (await doctor(env)).checks.find((check) => check.id === id)
}

function run(argv: string[], undoing?: string[]): void {
  expect({ argv, exit: Bun.spawnSync(argv).exitCode }).toEqual({ argv, exit: 0 })
  if (undoing !== undefined) undo.push(undoing)
}

/** Makes what the kernel says in a file read as this. */
function fake(path: string, content: string): void {
  const file = join(place.dir, path.replaceAll("/", "_"))
  writeFileSync(file, content)
  run(["mount", "--bind", file, path], ["umount", path])
}

function mount(kind: string, at: string, options: string): void {
  mkdirSync(at, { recursive: true })
  run(["mount", "-t", kind, "-o", options, kind, at], ["umount", at])
}

test("it looks at all of this host, says so as data, and makes nothing", async () => {
  const found = await doctor()
  expect(found.checks.length).toBeGreaterThan(30)
  for (const { is, says, hint } of found.checks) {
    expect(says).not.toBe("")
    if (is === "fail") expect(hint).toBeDefined()
  }
  expect(found.exit).toBe(found.is === "fail" ? 1 : 0)
  const text = await banger(place, ["doctor"])
  for (const { id } of found.checks) expect(text.stdout).toMatch(new RegExp(`^\\w+ +${id} `, "m"))
  expect([existsSync(place.state), existsSync(place.runtime)]).toEqual([false, false])
})

const FILES: readonly [id: string, path: string, content: string, says: string][] = [
  ["forwarding", "/proc/sys/net/ipv4/ip_forward", "0\n", "VMs reach this host only"],
  ["sysctls", "/proc/sys/fs/protected_hardlinks", "0\n", "fs.protected_hardlinks"],
  ["swap", "/proc/swaps", "Filename\n/dev/sda9 partition 1 0 -2\n", "/dev/sda9"],
  ["memory", "/proc/meminfo", "MemAvailable: 1000 kB\n", "1000K"],
  ["console", "/proc/cmdline", "BOOT_IMAGE=/vmlinuz ro\n", ""],
]
test.each(FILES.map((each) => [each[0], each] as const))(
  "what the kernel says: %s",
  async (_, [id, path, content, says]) => {
    fake(path, content)
    if (id === "console") fake("/proc/sys/kernel/printk", "7 4 1 7\n")
    expect(await findingOf(id)).toMatchObject({ is: "warn", says: expect.stringContaining(says) })
  },
)

test("whether guests boot by KVM is what came of trying one, whatever the processor's flags say", async () => {
  fake("/proc/cpuinfo", "flags\t\t: fpu vmx hypervisor\n")
  const kvm = await judgeKvm(thisKvmHost({ state: "/nonexistent" }, "look"), "qemu")
  const says = kvm.is === "usable" ? "this host is itself a VM" : kvm.words
  expect(await findingOf("guests")).toMatchObject({ says: expect.stringContaining(says) })
})

test("devices: none, another kind, KVM's and tun's", async () => {
  const dev = join(place.dir, "dev")
  mkdirSync(dev)
  const node = join(dev, "kvm")
  run(["mknod", node, "c", "1", "3"])
  run(["mount", "--bind", node, "/dev/kvm"], ["umount", "/dev/kvm"])
  run(["mount", "--bind", node, "/dev/net/tun"], ["umount", "/dev/net/tun"])
  expect(await findingOf("kvm")).toMatchObject({ is: "fail", says: "/dev/kvm is not KVM's device" })
  expect(await findingOf("tun")).toMatchObject({ is: "fail", says: "/dev/net/tun is not the tun device" })
})

test.each([
  ["jail-file-system", "noexec,nodev", "warn", "noexec, nodev"],
  ["space", "size=4M", "fail", "is full"],
  ["space", "size=300M", "warn", "little room"],
] as const)("the state's file system: %s by %s", async (id, options, verdict, says) => {
  mount("tmpfs", place.state, `mode=0711,${options}`)
  expect(await findingOf(id)).toMatchObject({ is: verdict, says: expect.stringContaining(says) })
})

test("a state directory that is read-only, or on an overlay", async () => {
  mount("tmpfs", place.state, "mode=0711,ro")
  expect(await findingOf("jail-file-system")).toMatchObject({
    is: "fail",
    says: expect.stringContaining("read-only"),
  })
  expect(await findingOf("reflinks")).toMatchObject({ is: "unknown", says: expect.stringContaining("EROFS") })
})

test("directories that others can change, that are another's, or lead elsewhere", async () => {
  mkdirSync(place.state, { mode: 0o755 })
  mkdirSync(place.runtime)
  chmodSync(place.runtime, 0o777)
  expect(await findingOf("directories")).toMatchObject({ is: "fail", hint: `chmod 1711 ${place.state}` })
  chmodSync(place.state, 0o711)
  expect(await findingOf("directories")).toMatchObject({ is: "fail", hint: `chmod 1711 ${place.runtime}` })
  chmodSync(place.runtime, 0o700)
  chownSync(place.runtime, 12345, 0)
  expect(await findingOf("directories")).toMatchObject({ is: "fail", hint: `chown 0 ${place.runtime}` })
  chownSync(place.runtime, 0, 0)
  chmodSync(place.dir, 0o777)
  expect(await findingOf("directories")).toMatchObject({
    is: "fail",
    hint: expect.stringContaining(`chmod go-w ${place.dir}`),
  })
  chmodSync(place.dir, 0o700)
  const link = join(place.dir, "link")
  symlinkSync(place.state, link)
  // Root's own may lead to a larger disk; another's may lead anywhere.
  expect(await findingOf("directories", { BANGER_STATE_DIR: link })).toMatchObject({ is: "ok" })
  lchownSync(link, 12345, 0)
  expect(await findingOf("directories", { BANGER_STATE_DIR: link })).toMatchObject({
    is: "fail",
    says: expect.stringContaining("uid 12345"),
  })
  expect(await findingOf("directories")).toMatchObject({ is: "ok" })
})

test("a path that leaves no room for sockets", async () => {
  const long = join(place.dir, "x".repeat(90))
  expect(await findingOf("socket-paths", { BANGER_RUNTIME_DIR: long })).toMatchObject({
    is: "fail",
    hint: expect.stringContaining("BANGER_RUNTIME_DIR"),
  })
})

test("Docker's rules", async () => {
  const rules =
    "add table ip filter; add chain ip filter DOCKER-USER; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; add rule ip filter FORWARD jump DOCKER-USER"
  run(["nft", rules], ["nft", "delete table ip filter"])
  expect(await findingOf("forward-policy")).toMatchObject({
    is: "warn",
    hint: expect.stringContaining("DOCKER-USER -i bgr+"),
  })
  // What comes back, and what is sent to guests, is forwarded too.
  run(["nft", 'add rule ip filter DOCKER-USER iifname "bgr*" accept'])
  expect(await findingOf("forward-policy")).toMatchObject({ is: "warn" })
  run(["nft", 'add rule ip filter DOCKER-USER oifname "bgr*" accept'])
  expect(await findingOf("forward-policy")).toMatchObject({ is: "ok" })
})

test("no VMM at all, a Firecracker that is known bad, and one whose jailer is of another release", async () => {
  const bin = join(place.dir, "bin")
  mkdirSync(bin)
  const none = await doctor({ PATH: bin })
  expect(none.checks.find(({ id }) => id === "vmm")).toMatchObject({
    is: "fail",
    hint: expect.stringContaining("banger get firecracker"),
  })
  expect(none.exit).toBe(1)
  const write = (name: string, says: string) =>
    writeFileSync(join(bin, name.toLowerCase()), `#!/bin/sh\necho '${says}'\n`, { mode: 0o755 })
  write("Firecracker", "Firecracker v1.13.1")
  write("Jailer", "Jailer v1.13.1")
  expect(await findingOf("firecracker", { PATH: `${bin}:/bin` })).toMatchObject({
    is: "fail",
    says: expect.stringContaining("CVE-2026-1386"),
  })
  write("Firecracker", "Firecracker v1.16.1")
  expect(await findingOf("firecracker", { PATH: `${bin}:/bin` })).toMatchObject({
    is: "warn",
    says: expect.stringContaining("one release"),
  })
  write("Jailer", "Jailer v1.16.1")
  expect(await findingOf("firecracker", { PATH: `${bin}:/bin` })).toMatchObject({ is: "ok" })
  const kvm = await judgeKvm(thisKvmHost({ state: "/nonexistent" }, "look"), "firecracker")
  expect(await findingOf("vmm", { PATH: `${bin}:/bin` })).toMatchObject({
    is: kvm.is === "unusable" ? "warn" : "ok",
    says: expect.stringContaining(kvm.is === "unusable" ? kvm.words : "takes Firecracker"),
  })
})

test("a directory of PATH that others can write is told, and nothing of it is run", async () => {
  const [open, proof] = [join(place.dir, "open"), join(place.dir, "proof")]
  mkdirSync(open)
  for (const name of ["nft", "firecracker", "jailer", "qemu-system-x86_64"])
    writeFileSync(join(open, name), `#!/bin/sh\n: > ${proof}\n`, { mode: 0o755 })
  chmodSync(open, 0o777)
  // Nothing else: others may have a Firecracker too.
  const PATH = open
  expect(await findingOf("path", { PATH })).toMatchObject({
    is: "warn",
    hint: expect.stringContaining(`chmod go-w ${open}`),
  })
  expect(await findingOf("firecracker", { PATH })).toMatchObject({
    says: expect.stringContaining(`${open}/firecracker is passed over: ${open} can be written by others`),
  })
  expect(existsSync(proof)).toBe(false)
  // Otherwise the proof proves nothing.
  chmodSync(open, 0o755)
  await doctor({ PATH })
  expect(existsSync(proof)).toBe(true)
})

test("what makes a Bun program another one, and what nobody watches", async () => {
  expect(await findingOf("environment", { LD_PRELOAD: "" })).toMatchObject({ is: "warn" })
  mkdirSync(join(place.runtime, "gone-12345678"), { recursive: true, mode: 0o700 })
  expect(await findingOf("leftovers")).toMatchObject({
    is: "warn",
    says: expect.stringContaining("gone-12345678"),
  })
  run(["rmdir", join(place.runtime, "gone-12345678")])
  // The locks of sweeps stay, and are no VM's.
  const sockets = join(place.dir, "sockets")
  mount("tmpfs", sockets, "mode=1777")
  expect((await banger(place, ["sweep", sockets])).exit).toBe(0)
  expect(existsSync(join(place.runtime, "sweep"))).toBe(true)
  expect(await findingOf("leftovers")).toMatchObject({ is: "ok" })
})

test("another user's view: what only root can see is unknown or left out, and nothing fails for it", async () => {
  const dist = join(import.meta.dir, "../../dist/banger")
  const home = join(place.dir, "home")
  mkdirSync(home)
  chownSync(home, 65534, 65534)
  chmodSync(place.dir, 0o755)
  writeFileSync(join(home, "banger"), "")
  run(["mount", "--bind", dist, join(home, "banger")], ["umount", join(home, "banger")])
  const child = Bun.spawnSync([join(home, "banger"), "doctor", "--json"], {
    uid: 65534,
    gid: 65534,
    cwd: home,
    env: { PATH: "/usr/bin:/bin", HOME: home },
  } as never)
  const found = v.parse(examinationSchema, JSON.parse(child.stdout.toString()))
  expect(found.checks.find(({ id }) => id === "user")).toMatchObject({ is: "warn" })
  expect(found.checks.filter(({ is }) => is === "fail")).toEqual([])
})
