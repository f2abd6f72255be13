import { expect, test } from "bun:test"
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { bzImageWith } from "../bzImage.ts"
import { fixture, type Running, start, until } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"

const newDirectory = directoriesOfFile()

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

function boot(
  script: string,
  spec: object = {},
  fault = "",
  env: Readonly<Record<string, string>> = firecracker.env,
): Running {
  const kernel = kernelOf(place.dir, script)
  return start(place, ["run", fixture("firecracker"), "--", kernel, JSON.stringify(spec), fault], { ...env })
}
const status = (pid: number, field: string) =>
  new RegExp(`^${field}:[ \\t]*(.*)$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]?.split(/\s+/)

onBoth(
  "through its jailer: a chroot, a uid, no groups, no descriptors of ours, a cgroup; Ctrl-Alt-Del ends it",
  async () => {
    const disk = join(place.dir, "disk.img")
    writeFileSync(disk, "x".repeat(4096))
    const run = boot("PRINT[guest is up]", {
      firecracker: { logger: { level: "Info" } },
      drives: [
        { path: disk, root: true },
        { path: disk, readonly: true, id: "ro" },
      ],
    })
    await run.shows("guest is up")
    await run.shows("runs as firecracker")
    const [record] = records(place)
    const [pid = 0] = processesOf(place)
    const root = join(place.state, "jail/firecracker", record?.id ?? "", "root")
    const uid = String(statSync(root).uid)
    expect(readFileSync(`/proc/${pid}/comm`, "utf8")).toBe("firecracker\n")
    expect(status(pid, "Uid")).toEqual([uid, uid, uid, uid])
    expect(status(pid, "Gid")).toEqual([uid, uid, uid, uid])
    expect((status(pid, "Groups") ?? []).join("")).toBe("")
    expect(statSync(`/proc/${pid}/root/.`).ino).toBe(statSync(root).ino)
    expect(readFileSync(`/proc/${pid}/environ`, "utf8")).toBe("")
    expect(readFileSync(`/proc/${pid}/cgroup`, "utf8")).toContain(`0::/banger/${record?.id}`)
    expect(
      readdirSync(`/proc/${pid}/fd`)
        .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
        .filter((path) => path.startsWith(place.dir) && !/console|log/.test(path)),
    ).toEqual([])
    const socket = statSync(join(root, "api.sock"))
    expect({ mode: socket.mode & 0o777, uid: socket.uid }).toEqual({ mode: 0o600, uid: Number(uid) })
    expect(readFileSync(join(place.state, "vms", record?.id ?? "", "firecracker.log"), "utf8")).toContain(
      'Put request on "/actions"',
    )
    run.signal("SIGINT")
    const { stderr, exit } = await run.ended
    expect(exit).toBe(130)
    expect(stderr).toContain("postStop: guest reset")
    expect(readFileSync(disk, "utf8")).toBe("x".repeat(4096))
  },
)

onBoth("bare, where no jail is wanted", async () => {
  const run = boot("RESET", { jail: false })
  const { stdout, stderr, exit } = await run.ended
  expect(stdout).toContain("BANGER-GUEST-UP")
  expect(stderr).toContain("Firecracker runs as root and without a jail")
  expect(exit).toBe(0)
})

onBoth(
  "a guest that ignores Ctrl-Alt-Del is killed after the limit; one that powers off is told of, and ended",
  async () => {
    const deaf = boot("DEAF PRINT[deaf]", { timeouts: { stop: "1s" } })
    await deaf.shows("deaf")
    await deaf.shows("runs as")
    deaf.signal("SIGINT")
    const killed = await deaf.ended
    expect(killed.stderr).toContain("did not stop in 1s after Ctrl-Alt-Del: killing it")
    expect(killed.stderr).toContain("postStop: killed")
    const halted = await boot("HALT").ended
    expect(halted.stderr).toContain("the guest has powered off, but its VMM still runs: ending it")
    expect(halted.stderr).toContain("postStop: guest powered off")
    expect(halted.exit).toBe(0)
  },
)

onBoth("a triple fault is a crash", async () => {
  const { stderr, exit } = await boot("TRIPLE").ended
  // Firecracker itself now and then takes it for a reset, where KVM emulates the guest.
  if (firecracker.real && exit === 0) return expect(stderr).toContain("postStop: guest reset")
  expect(stderr).toMatch(/postStop: (crashed|failed to start)/)
  expect(exit).toBe(1)
})

test.each([
  ["no-socket", "the VMM did not make its control socket in 2s", 124],
  ["refuse", "the VMM did not answer GET / in 2s", 124],
  ["exit /", "Error: RunWithApi(fault at /)", 1],
  ["exit /machine-config", "Error: RunWithApi(fault at /machine-config)", 1],
  ["exit /actions", "Firecracker exiting with error. exit_code=1", 1],
  ["hang /", "the VMM did not answer GET / in 2s", 124],
  ["hang /boot-source", "the VMM did not answer PUT /boot-source in 2s", 124],
  ["cut /", "instance: Firecracker did not answer GET /", 1],
  ["cut /drives/job", "drives[0]: Firecracker did not answer PUT /drives/job", 1],
  ["500 /machine-config", "machine-config: Firecracker refused it: status 500: Internal", 1],
  ["400 /boot-source", "kernel: Firecracker refused it: A fault of the test.", 1],
  [
    "raw /actions",
    "boot: Firecracker refused it: Invalid request. All previous unanswered requests will be dropped.",
    1,
  ],
  ["lie /", "instance: the API is of another, not of fc-", 1],
  ["lie /boot-source", "kernel: Firecracker answered /boot-source otherwise than expected", 1],
])("when the API does %p it is one clear error, jailed and bare, and nothing is left", async (fault, words, status) => {
  for (const jail of [true, false]) {
    const { stderr, exit } = await boot("", { jail, timeouts: { start: "2s" } }, fault).ended
    expect(stderr).toContain(words)
    expect(stderr).toContain("postStop: failed to start")
    // One that is slow, not one that has said what is wrong.
    if (status === 124) expect(stderr).toMatch(/to see what it said: banger logs --vmm fc-\w+/)
    expect(exit).toBe(status)
  }
})

test.each([
  ["copy", "Failed to open"],
  ["limit", "Failed to set limit for resource: number of file descriptors"],
  ["pivot", "Failed to pivot root"],
  ["mknod", "Failed to create /dev/net/tun via mknod inside the jail: Operation not permitted"],
  ["pidfile", "Failed to open file /firecracker.pid"],
  ["setuid", "Failed to exec into Firecracker: Operation not permitted"],
  ["exec", "Failed to exec into Firecracker"],
])("when the jailer fails at its step %p it is one clear error, and nothing is left", async (step, words) => {
  const { stderr, exit } = await boot("", {}, `jailer ${step}`).ended
  expect(stderr).toContain(`the VMM ended at once: ${words}`)
  expect(stderr).toContain("postStop: failed to start")
  expect(exit).toBe(1)
})

onBoth("where a program in the jail is run already, its process is named", async () => {
  const plugin = join(place.dir, "busy.ts")
  writeFileSync(
    plugin,
    `import { chmodSync } from "node:fs"
    export default { name: "fc", kernel: "vmlinux", vmm: "firecracker",
    async preBoot(ctx) {
      await ctx.stage.copy("firecracker", ${JSON.stringify(`${firecracker.bin}/firecracker`)})
      const path = ctx.dir + "/firecracker"
      chmodSync(path, 0o700)
      const child = Bun.spawn([path, "--api-sock", ctx.dir + "/busy.sock"], { stdout: "ignore" })
      this.child = child
      ctx.log.info("busy is " + child.pid)
    },
    async postStop() { this.child.kill(9); await this.child.exited } }`,
  )
  kernelOf(place.dir)
  const { stderr, exit } = await start(place, ["run", plugin], { ...firecracker.env }).ended
  const [, pid] = /busy is (\d+)/.exec(stderr) ?? []
  expect(stderr).toContain("Text file busy (os error 26)")
  expect(stderr).toMatch(new RegExp(`process ${pid} runs /.*/root/firecracker`))
  expect(exit).toBe(1)
})

onBoth("all that Firecracker alone knows is set, jailed and bare; its logs and metrics stay after it", async () => {
  for (const jail of [true, false]) {
    const firecracker = {
      machine: { smt: false, track_dirty_pages: true },
      drives: {
        job: { cache_type: "Writeback", io_engine: "Async", rate_limiter: { ops: { size: 1, refill_time: 1 } } },
      },
      vsock: { guest_cid: 3 },
      entropy: {},
      balloon: { amount_mib: 1, deflate_on_oom: true },
      logger: { level: "Info", show_level: true },
      metrics: true,
      serial: { rate_limiter: { size: 1000, refill_time: 1 } },
      ...(jail ? { resource_limit: { "no-file": 512, fsize: 1 << 30 } } : {}),
    }
    const run = boot("PRINT[up]", { jail, firecracker })
    await run.shows("runs as firecracker")
    const [record] = records(place)
    const dir = join(place.state, "vms", record?.id ?? "")
    const limits = readFileSync(`/proc/${processesOf(place)[0]}/limits`, "utf8")
    if (jail) expect(limits).toMatch(/Max file size +1073741824 +1073741824/)
    if (jail) expect(limits).toMatch(/Max open files +512 +512/)
    const root = jail
      ? join(place.state, "jail/firecracker", record?.id ?? "", "root")
      : join(place.runtime, record?.id ?? "")
    const vsock = statSync(join(root, "vsock.sock"))
    expect({ mode: vsock.mode & 0o777, uid: vsock.uid }).toEqual({ mode: 0o600, uid: statSync(root).uid })
    for (const path of ["/metrics", "/serial", "/vsock", "/entropy", "/balloon"])
      expect(readFileSync(join(dir, "firecracker.log"), "utf8")).toContain(
        `INFO] The API server received a Put request on "${path}"`,
      )
    run.signal("SIGINT")
    expect((await run.ended).exit).toBe(130)
    const metrics = readFileSync(join(dir, "metrics.json"), "utf8").trim().split("\n")
    expect(metrics.map((line) => JSON.parse(line).vmm)).toEqual([{ panic_count: 0 }, { panic_count: 0 }])
  }
})

onBoth("what this Firecracker lacks, and what is out of bounds, is refused before anything is made", async () => {
  const dir = newDirectory()
  const older = buildDoubles(dir, { version: "1.13.2" })
  const serial = { serial: { rate_limiter: { size: 1, refill_time: 1 } } }
  for (const [settings, words, env] of [
    [serial, "firecracker.serial: Firecracker 1.13 does not have it: it came with 1.14", older.env],
    [{ mmds: {} }, "firecracker.mmds: the guest has no network card", firecracker.env],
    [
      { balloon: { amount_mib: 257, deflate_on_oom: true } },
      "firecracker.balloon.amount_mib: 257 is more than",
      firecracker.env,
    ],
  ] as const) {
    const { stderr, exit } = await boot("", { firecracker: settings }, "", env).ended
    expect(stderr).toContain(words)
    expect(exit).not.toBe(0)
  }
  const long = { bootArgs: "x".repeat(2010), firecracker: { entropy: {} } }
  expect((await boot("", long).ended).stderr).toContain(
    "bootArgs: a kernel command line of 2053 bytes, but kernels read 2047; 43 by firecracker",
  )
  expect(records(place)).toEqual([])
  const { stderr } = await boot("", { firecracker: { drives: { jbo: { io_engine: "Sync" } } } }).ended
  expect(stderr).toContain("firecracker.drives: no drive is called jbo; did you mean job?")
  Bun.spawnSync(["rm", "-r", dir])
})

onBoth("a log that Firecracker fills stays small, and a VM that stands still is stopped all the same", async () => {
  const plugin = join(place.dir, "paused.ts")
  writeFileSync(
    plugin,
    `export default { name: "fc", kernel: "vmlinux", vmm: "firecracker", timeouts: { stop: "20s" },
    async postBoot(ctx) { await ctx.pause(); await ctx.pause(); ctx.log.info("stands still") },
    postStop(ctx) { ctx.log.info("postStop: " + ctx.exit.reason) } }`,
  )
  kernelOf(place.dir, "PRINT[up]")
  const run = start(place, ["run", plugin], { ...firecracker.env })
  await run.shows("stands still")
  const log = join(place.state, "vms", records(place)[0]?.id ?? "", "firecracker.log")
  // As the VMM itself, which owns it.
  const root = join(place.state, "jail/firecracker", records(place)[0]?.id ?? "", "root")
  const flood = openSync(join(root, "firecracker.log"), "a")
  for (let n = 0; n < 8; n++) writeSync(flood, new Uint8Array(1 << 20).fill(120))
  closeSync(flood)
  await until(() => statSync(log).blocks * 512 <= 1 << 20)
  run.signal("SIGINT")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("postStop: guest reset")
  expect(exit).toBe(130)
})

test("the same plugin file boots under QEMU and Firecracker: a distribution's bzImage is unpacked, once", async () => {
  const plugin = join(import.meta.dir, "../../plugins/hello.ts")
  const qemu = await start(place, ["run", plugin, "--vmm", "qemu"]).ended
  expect(qemu.stdout).toContain("the host says")
  expect(qemu.exit).toBe(0)
  for (let round = 0; round < 2; round++) {
    // The double runs no Linux: it shows what it was given, and waits to be stopped.
    const run = start(place, ["run", plugin, "--vmm", "firecracker"], { ...firecracker.env })
    await run.shows("BANGER-GUEST-UP")
    await run.shows("firecracker runs as process")
    run.signal("SIGINT")
    expect((await run.ended).exit).toBe(130)
  }
  const [kernel = "", ...others] = readdirSync(join(place.state, "kernels"))
  expect(others).toEqual([])
  expect(kernel).toMatch(/^[0-9a-f]{64}\.vmlinux$/)
  const unpacked = join(import.meta.dir, "../../dist/guest/vmlinux")
  expect(Bun.spawnSync(["cmp", join(place.state, "kernels", kernel), unpacked]).exitCode).toBe(0)
})

onBoth("a kernel that is none is named before Firecracker is started", async () => {
  writeFileSync(join(place.dir, "vmlinux"), "no ELF at all, and much too short")
  const kernel = join(place.dir, "vmlinux")
  const run = start(place, ["run", fixture("firecracker"), "--", kernel], { ...firecracker.env })
  expect((await run.ended).stderr).toContain("vmlinux: the kernel is neither an ELF vmlinux nor an x86 bzImage")
  expect(records(place)).toEqual([])
})

test("every program and its version is looked at before there is a record: old, unlike, missing, another user's", async () => {
  const dir = newDirectory()
  const old = buildDoubles(join(dir, "old"), { version: "1.4.1" })
  const unlike = buildDoubles(join(dir, "unlike"), { jailerVersion: "1.15.1" })
  const alone = buildDoubles(join(dir, "alone"))
  Bun.spawnSync(["rm", join(alone.bin, "jailer")])
  const others = buildDoubles(join(dir, "others"))
  Bun.spawnSync(["chown", "4242", join(others.bin, "jailer")])
  const text = buildDoubles(join(dir, "text"))
  writeFileSync(join(text.bin, "jailer"), "no program\n", { mode: 0o755 })
  for (const [PATH, words] of [
    [old.env.PATH, /is Firecracker 1\.4\.1, which is too old/],
    [unlike.env.PATH, /must be of one release: .* is version 1\.16\.1, .* is version 1\.15\.1/],
    // Nothing else: others may have a Firecracker too.
    [dir, /firecracker is not in PATH/],
    [alone.bin, /jailer is not in PATH\n.*banger get firecracker.*jail: false/],
    [others.bin, /jailer is not in PATH; .*jailer is passed over: it belongs to uid 4242 \(run: chown root/],
    [text.bin, /jailer cannot be run: .*ENOEXEC/],
  ] as const) {
    const { stderr, exit } = await boot("", {}, "", { PATH: PATH ?? "" }).ended
    expect(stderr).toMatch(words)
    expect(exit).toBe(1)
    expect(records(place)).toEqual([])
  }
  Bun.spawnSync(["rm", "-r", dir])
})

test("what a kernel needs to be unpacked is looked for before there is a record", async () => {
  const packed = (payload: Uint8Array) => {
    writeFileSync(join(place.dir, "bzImage"), bzImageWith(payload))
    return start(place, ["run", fixture("firecracker"), "--", join(place.dir, "bzImage")], { PATH: firecracker.bin })
  }
  const elf = new Uint8Array(readFileSync(kernelOf(place.dir, "RESET PRINT[up]")))
  const xz = Bun.spawnSync(["xz", "--check=crc32", "--stdout"], { stdin: elf }).stdout
  const size = new Uint8Array(new Uint32Array([elf.length]).buffer)
  const bzip2 = Buffer.from("BZh91AY&SY and no more of it")
  for (const [payload, words] of [
    [Buffer.concat([xz, size]), "bzImage: xz is needed to unpack the kernel, and is not in PATH"],
    [bzip2, "bzImage: the bzImage does not hold an ELF file: it is compressed in a way that banger does not know"],
  ] as const) {
    expect((await packed(payload).ended).stderr).toContain(words)
    expect(records(place)).toEqual([])
  }
  // One that was unpacked before needs nothing.
  const kernel = join(place.dir, "bzImage")
  writeFileSync(kernel, bzImageWith(Buffer.concat([xz, size])))
  for (const env of [firecracker.env, { PATH: firecracker.bin }]) {
    const { stdout, exit } = await start(place, ["run", fixture("firecracker"), "--", kernel], { ...env }).ended
    expect(stdout).toContain("up")
    expect(exit).toBe(0)
  }
})

test("a dynamically linked build finds its libraries in the jail", async () => {
  const dir = newDirectory()
  const dynamic = buildDoubles(dir, { flags: ["-pie", "-O1"] })
  expect(Bun.spawnSync(["ldd", join(dynamic.bin, "firecracker")]).stdout.toString()).toContain("libc.so")
  const { stdout, exit } = await boot("RESET PRINT[up]", {}, "", dynamic.env).ended
  expect(stdout).toContain("up")
  expect(exit).toBe(0)
  Bun.spawnSync(["rm", "-r", dir])
})

for (const umask of ["077", "0777", "0"])
  onBoth(
    `under umask ${umask} a VM runs, in a state directory that is made then, also dynamically linked`,
    async () => {
      const dir = newDirectory()
      const dynamic = buildDoubles(dir, { flags: ["-pie", "-O1"] })
      const kernel = kernelOf(place.dir, "RESET PRINT[up]")
      for (const { env, more } of [
        { env: firecracker.env, more: {} },
        { env: dynamic.env, more: {} },
        { env: firecracker.env, more: { jail: false } },
      ]) {
        const words = ["run", fixture("firecracker"), "--", kernel, JSON.stringify(more)]
        const through = ["sh", "-c", `umask ${umask}; exec "$@"`, "sh"]
        const { stdout, stderr, exit } = await start(place, words, { ...env }, { through }).ended
        expect({ stdout, stderr, exit }).toMatchObject({ exit: 0 })
        expect(stdout).toContain("up")
      }
      expect(statSync(place.state).mode & 0o777).toBe(umask === "0" ? 0o711 : 0o700)
      Bun.spawnSync(["rm", "-r", dir])
    },
  )

test("a known-bad version is warned of by name", async () => {
  const dir = newDirectory()
  const bad = buildDoubles(dir, { version: "1.14.0" })
  const { stderr, exit } = await boot("RESET", {}, "", bad.env).ended
  expect(stderr).toContain("CVE-2026-1386")
  expect(exit).toBe(0)
  Bun.spawnSync(["rm", "-r", dir])
})

onBoth(
  "what the jailer refuses is shown in its words: a node, a pidfile, an old root that is there already",
  async () => {
    for (const [name, words] of [
      ["dev/net/tun", "Failed to create /dev/net/tun via mknod inside the jail: File exists"],
      ["firecracker.pid", "Failed to open file /firecracker.pid: File exists"],
      ["old_root/x", "Failed to create the jail root directory before pivoting root"],
    ] as const) {
      const plugin = join(place.dir, "planted.ts")
      writeFileSync(
        plugin,
        `export default { name: "fc", kernel: "vmlinux", vmm: "firecracker",
      async preBoot(ctx) { await ctx.stage.write(${JSON.stringify(name)}, "x") } }`,
      )
      kernelOf(place.dir)
      const { stderr, exit } = await start(place, ["run", plugin], { ...firecracker.env }).ended
      expect(stderr).toContain(words)
      expect(exit).toBe(1)
    }
  },
)

onBoth("the configuration names the programs; one that others can write is not read", async () => {
  const config = join(place.dir, "config.toml")
  writeFileSync(config, `firecracker = "${firecracker.bin}/firecracker"\njailer = "${firecracker.bin}/jailer"\n`)
  const env = { BANGER_CONFIG: config }
  expect((await boot("RESET", {}, "", env).ended).exit).toBe(0)
  writeFileSync(config, 'firecraker = "/x"\n')
  expect((await boot("RESET", {}, "", env).ended).stderr).toContain("unknown key firecraker; did you mean firecracker?")
  chmodSync(config, 0o666)
  expect((await boot("RESET", {}, "", env).ended).stderr).toContain("run: chmod go-w")
})

onBoth("a banger killed while Firecracker runs: rm -f takes all of it", async () => {
  const run = boot("PRINT[up]")
  await run.shows("runs as")
  run.signal("SIGKILL")
  await run.ended
  const removed = start(place, ["rm", "-f", "fc"])
  expect((await removed.ended).exit).toBe(0)
  expect(cgroupMount()).toBeDefined()
})

onBoth("where the state's file system is mounted noexec, nodev and nosuid the jail works all the same", async () => {
  mkdirSync(place.state, { mode: 0o711 })
  const options = "size=64M,mode=711,noexec,nodev,nosuid"
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", options, "none", place.state]).exitCode).toBe(0)
  const { stdout, exit } = await boot("RESET PRINT[up]").ended
  expect(stdout).toContain("up")
  expect(exit).toBe(0)
  Bun.spawnSync(["umount", place.state])
})

onBoth("a program whose name makes the path of its socket long is reached all the same", async () => {
  const dir = newDirectory()
  const name = `firecracker-v1.16.1-x86_64-${"x".repeat(30)}`
  for (const [from, to] of [
    ["firecracker", name],
    ["jailer", "jailer"],
  ] as const)
    copyFileSync(join(firecracker.bin, from), join(dir, to))
  symlinkSync(name, join(dir, "firecracker"))
  const run = boot("PRINT[up]", {}, "", { PATH: `${dir}:${process.env.PATH}` })
  await run.shows("runs as")
  const root = join(place.state, "jail", name, records(place)[0]?.id ?? "", "root")
  expect(join(root, "api.sock").length).toBeGreaterThan(107)
  run.signal("SIGINT")
  expect((await run.ended).exit).toBe(130)
  Bun.spawnSync(["rm", "-r", dir, join(place.state, "jail", name)])
})
