import { afterAll, afterEach, beforeAll, expect, test } from "bun:test"
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { checkDocuments } from "../documents.ts"
import { stalling } from "../fixtures/releaseServer.ts"
import { fixture, until } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { CURRENT, makeReleases, NEXT, type Releases } from "./support/releases.ts"

let releases: Releases
beforeAll(() => {
  releases = makeReleases()
}, 60_000)
afterAll(() => releases.dispose())

const undo: string[][] = []
// Added before the place's own, so that it runs before that one looks whether anything is left.
afterEach(() => {
  for (const argv of undo.splice(0).reverse()) expect(Bun.spawnSync(argv).exitCode).toBe(0)
  releases.server.faults.clear()
  releases.server.latest = CURRENT
})
const place = eachInItsPlace()

const bin = () => join(place.dir, "usr/bin")
const installed = () => join(bin(), "banger")
const left = () => (existsSync(bin()) ? readdirSync(bin()).sort() : [])

interface Ended {
  readonly exit: number | null
  readonly said: string
}

async function run(argv: readonly string[], env: Record<string, string> = {}, cwd = place.dir): Promise<Ended> {
  const child = Bun.spawn([...argv], {
    cwd,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: {
      PATH: process.env.PATH,
      BANGER_STATE_DIR: place.state,
      BANGER_RUNTIME_DIR: place.runtime,
      BANGER_TIMEOUT: "2",
      ...env,
    },
  })
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()])
  const exit = await child.exited
  if (argv[0] === installed()) checkDocuments(argv.slice(1), { stdout: out, stderr: err, exit })
  return { exit, said: out + err }
}

const install = (args: readonly string[] = [], env: Record<string, string> = {}) =>
  run(["sh", releases.script, "--prefix", join(place.dir, "usr"), ...args], env)
const version = async (path = installed()) => (await run([path, "--version"])).said.split(" ")[1]
const inode = (path: string) => statSync(path, { bigint: true }).ino

test("installed by one line, it looks at the host, updates, goes back, and is removed without a trace", async () => {
  const first = await install()
  expect(first).toEqual({
    exit: 0,
    said: expect.stringContaining(`is installed: ${installed()}, checked by its signature and sum`),
  })
  expect(await version()).toBe(CURRENT)
  const doctor = await run([installed(), "doctor", "--json"])
  expect(JSON.parse(doctor.said).checks.find(({ id }: { id: string }) => id === "binary")).toMatchObject({
    is: "ok",
  })

  expect(await run([installed(), "update", "--check"])).toEqual({ exit: 0, said: "" })
  expect((await run([installed(), "update"])).said).toContain(`this is banger ${CURRENT}; ${CURRENT} is the latest`)
  releases.server.latest = NEXT
  expect(await run([installed(), "update", "--check"])).toEqual({ exit: 0, said: `${NEXT}\n` })
  const told = await run([installed(), "update", "--check", "--json"])
  expect(JSON.parse(told.said)).toEqual({ current: CURRENT, latest: NEXT, newer: true })
  expect(left()).toEqual(["banger"])

  const updated = await run([installed(), "update"])
  expect(updated).toEqual({ exit: 0, said: expect.stringContaining(`updated banger ${CURRENT} to ${NEXT}`) })
  expect([await version(), await version(`${installed()}.old`)]).toEqual([NEXT, CURRENT])
  expect(left()).toEqual(["banger", "banger.old"])
  releases.server.latest = CURRENT
  expect((await run([installed(), "update"])).said).toContain(`this is banger ${NEXT}; ${CURRENT} is the latest`)
  expect(await run([installed(), "update", "--rollback"])).toMatchObject({ exit: 0 })
  expect([await version(), await version(`${installed()}.old`)]).toEqual([CURRENT, NEXT])
  expect(await run([installed(), "update", "--version", `v${NEXT}`])).toMatchObject({ exit: 0 })
  expect(await version()).toBe(NEXT)

  expect(await install(["--uninstall", "--purge"])).toMatchObject({ exit: 0 })
  expect(left()).toEqual([])
  expect([existsSync(place.state), existsSync(place.runtime)]).toEqual([false, false])
}, 60_000)

test("a fault of an update is a clear error, and the banger that is there stays", async () => {
  await install()
  releases.server.latest = NEXT
  const { faults } = releases.server
  const before = inode(installed())
  const tries: [() => void, RegExp, Record<string, string>?][] = [
    [
      () => faults.set(".tar.gz", (_, whole) => new Response(new Uint8Array(whole.toReversed()))),
      /is not what the release has/,
    ],
    [() => faults.set("SHA256SUMS", () => new Response("x")), /is not a list of a release's sums/],
    [
      () => faults.set(".tar.gz", () => Response.redirect("http://example.org/x")),
      /redirects to http:\/\/example\.org\/x, which is not https/,
    ],
    [() => faults.set(".tar.gz", stalling(1000)), /nothing came for 1 s/, { BANGER_TIMEOUT: "1" }],
    [() => faults.set(".tar.gz", () => new Response("", { status: 404 })), /the server answers 404/],
    [() => {}, /BANGER_RELEASES is http:\/\/example\.org/, { BANGER_RELEASES: "http://example.org" }],
    [() => {}, /BANGER_TIMEOUT is/, { BANGER_TIMEOUT: "soon" }],
  ]
  for (const [spoil, message, env] of tries) {
    faults.clear()
    spoil()
    expect(await run([installed(), "update"], env)).toEqual({
      exit: expect.any(Number),
      said: expect.stringMatching(message),
    })
    expect(left()).toEqual(["banger"])
    expect(inode(installed())).toBe(before)
  }
}, 60_000)

test("no space, and a place that is read-only, leave the old binary", async () => {
  mkdirSync(bin(), { recursive: true })
  Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=160M,mode=755", "tmpfs", bin()])
  undo.push(["umount", bin()])
  expect(await install()).toMatchObject({ exit: 0 })
  releases.server.latest = NEXT
  const before = inode(installed())
  // One binary fits, and a second does not.
  expect(await run([installed(), "update"])).toEqual({
    exit: 1,
    said: expect.stringContaining(`no space is left in ${bin()}`),
  })
  expect(await install(["--version", NEXT])).toEqual({
    exit: 1,
    said: expect.stringContaining(`cannot unpack banger into ${bin()}`),
  })
  expect([left(), inode(installed())]).toEqual([["banger"], before])
  const small = join(place.dir, "small")
  mkdirSync(small)
  Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=5M", "tmpfs", small])
  undo.push(["umount", small])
  expect(await install(["--version", NEXT], { TMPDIR: small })).toEqual({
    exit: 1,
    said: expect.stringContaining("free some space in"),
  })
  expect(readdirSync(small)).toEqual([])
  Bun.spawnSync(["mount", "-o", "remount,ro", bin()])
  expect(await run([installed(), "update"])).toEqual({ exit: 1, said: expect.stringContaining("is mounted read-only") })
  expect(await install(["--version", NEXT])).toEqual({
    exit: 1,
    said: expect.stringContaining(`cannot write to ${bin()}`),
  })
  expect([left(), inode(installed())]).toEqual([["banger"], before])
}, 60_000)

test("nobody who can only read its directory keeps an update from being made; two at once do not mix", async () => {
  await install()
  chmodSync(place.dir, 0o755)
  const other = Bun.spawn(["flock", bin(), "sleep", "60"], { uid: 65534, gid: 65534 } as never)
  await until(() => readFileSync("/proc/locks", "latin1").includes(` ${other.pid} `))
  expect(await run([installed(), "update", "--version", NEXT])).toMatchObject({ exit: 0 })
  other.kill()
  await other.exited
  const both = await Promise.all([CURRENT, CURRENT, CURRENT].map((to) => run([installed(), "update", "--version", to])))
  // One that comes later finds it done, or its turn taken.
  expect(both.map(({ exit }) => exit).sort()[0]).toBe(0)
  for (const { exit, said } of both) if (exit !== 0) expect(said).toContain("another update of")
  expect(await version()).toBe(CURRENT)
  expect(left()).toEqual(["banger", "banger.old"])
}, 60_000)

test("killed at any step of an update, there is a whole banger, and the next update succeeds", async () => {
  await install()
  let to = NEXT
  for (const call of ["fchmodat", "fsync", "linkat", "renameat2"]) {
    for (let count = 1, killed = true; killed; count++) {
      const inject = [
        "strace",
        "-o",
        "/dev/null",
        "-e",
        `trace=${call}`,
        "-e",
        `inject=${call}:signal=KILL:when=${count}`,
      ]
      const { exit } = await run([...inject, installed(), "update", "--version", to])
      killed = exit !== 0
      expect([CURRENT, NEXT]).toContain((await version()) ?? "")
      if (killed) expect(await run([installed(), "update", "--version", to])).toMatchObject({ exit: 0 })
      expect(await version()).toBe(to)
      to = to === NEXT ? CURRENT : NEXT
      expect(count).toBeLessThan(10)
    }
  }
  // The next one takes away what a killed one left.
  expect(left()).toEqual(["banger", "banger.old"])
}, 120_000)

test("a VM that runs goes on while its banger is updated, and is stopped by the old one as ever", async () => {
  await install()
  const child = Bun.spawn(
    [installed(), "run", fixture("guest"), "--", "#!/bin/sh\necho is-up; while :; do sleep 1; done\n", "{}"],
    {
      cwd: place.dir,
      stdout: "pipe",
      stderr: "pipe",
      env: { PATH: process.env.PATH, BANGER_STATE_DIR: place.state, BANGER_RUNTIME_DIR: place.runtime },
    },
  )
  const log = () => join(place.state, "vms", records(place)[0]?.id ?? "-", "console.log")
  await until(() => existsSync(log()) && readFileSync(log(), "latin1").includes("is-up"))
  releases.server.latest = NEXT
  expect(await run([installed(), "update"])).toMatchObject({ exit: 0 })
  expect(await version()).toBe(NEXT)
  expect(readlinkSync(`/proc/${child.pid}/exe`)).toStartWith(bin())
  expect(child.exitCode).toBeNull()
  expect(records(place)[0]?.state).toBe("running")
  child.kill("SIGINT")
  expect(await child.exited).toBe(130)
}, 90_000)

test("a VM whose supervisor is of the old banger, and rests, is stopped by the new one", async () => {
  await install()
  const idle = ["--", "#!/bin/sh\nwhile :; do sleep 1; done\n", "{}"]
  expect(await run([installed(), "run", "--detach", fixture("guest"), ...idle])).toMatchObject({ exit: 0 })
  const [{ supervisor }] = JSON.parse((await run([installed(), "ps", "--json"])).said)
  const words = () => readFileSync(`/proc/${supervisor}/cmdline`, "latin1").replaceAll("\0", " ")
  await until(() => words().includes(" __rest "))
  releases.server.latest = NEXT
  expect(await run([installed(), "update"])).toMatchObject({ exit: 0 })
  // The newer one keeps more of each VM from here on.
  expect(JSON.parse((await run([installed(), "ps", "--json"])).said)).toMatchObject([
    { name: "guest", state: "running" },
  ])
  expect((await run([`${installed()}.old`, "ps"])).said).toContain("was written by a newer banger")
  // The next update takes the program away that the supervisor rests in.
  rmSync(`${installed()}.old`)
  expect(await run([installed(), "stop", "guest"])).toMatchObject({ exit: 0 })
  expect(records(place)[0]?.state).toBe("stopped")
  const { said } = await run([installed(), "logs", "--supervisor", "guest"])
  expect(said).not.toContain("newer banger")
}, 90_000)

test("started in a directory with hostile files, it opens none of them", async () => {
  await install()
  const hostile = join(place.dir, "hostile")
  const proof = join(place.dir, "proof")
  const evil = `require("node:fs").writeFileSync(${JSON.stringify(proof)}, "ran")\n`
  mkdirSync(join(hostile, "node_modules/banger"), { recursive: true })
  mkdirSync(join(hostile, "node_modules/citty"))
  const files = {
    "evil.ts": evil,
    "bunfig.toml": 'preload = ["./evil.ts"]\n',
    ".env": "BANGER_STATE_DIR=/nonexistent\n",
    ".env.local": "BANGER_STATE_DIR=/nonexistent\n",
    ".env.production": "BANGER_STATE_DIR=/nonexistent\n",
    "package.json": '{ "imports": { "banger": "./evil.ts" }, "main": "evil.ts" }\n',
    "tsconfig.json": '{ "compilerOptions": { "paths": { "banger": ["./evil.ts"] } } }\n',
    "jsconfig.json": "{}",
    "bun.lock": "{}",
    ".npmrc": "registry=http://127.0.0.1:1/\n",
    "node_modules/banger/index.js": evil,
    "node_modules/citty/index.js": evil,
    "node_modules/citty/package.json": '{ "main": "index.js" }',
    "libc.so.6": "not a library",
  }
  for (const [name, content] of Object.entries(files)) writeFileSync(join(hostile, name), content)
  const configuration = join(hostile, "home")
  mkdirSync(configuration)
  for (const name of [".bunfig.toml", ".npmrc", ".env"])
    writeFileSync(join(configuration, name), 'preload = ["/evil.ts"]\n')
  cpSync(fixture("guest"), join(place.dir, "plain.ts"))
  const trace = join(place.dir, "trace")
  for (const words of [
    ["--version"],
    ["--help"],
    ["doctor"],
    ["get", "ls"],
    ["logs", "x"],
    ["complete", "--", "ru"],
    ["update", "--check"],
    ["run", "--plan", "../plain.ts", "--", "x", "{}"],
  ]) {
    const strace = ["strace", "-f", "-e", "trace=open,openat,openat2,execve,readlink", "-o", trace]
    await run(
      [...strace, installed(), ...words],
      { NODE_ENV: "production", HOME: configuration, XDG_CONFIG_HOME: configuration },
      hostile,
    )
    const opened = readFileSync(trace, "utf8")
    // Otherwise it was not traced, or did nothing.
    expect(opened).toMatch(/openat\(.*\/proc\/|openat\(.*"\/usr/)
    if (words[0] === "run") expect(opened).toContain("plain.ts")
    const names = [...Object.keys(files).filter((name) => name !== "libc.so.6"), ".bunfig.toml"]
    expect({ words, opened: names.filter((name) => opened.includes(`${name}"`)) }).toEqual({ words, opened: [] })
    // The system's own, by its path, is what has to be opened.
    expect(opened).not.toMatch(/"(?:\.\/)?libc\.so\.6"/)
    // That doctor looks at this user's units runs nothing of them.
    expect(opened.replaceAll(`"${configuration}/.config/systemd/user"`, "")).not.toContain(`"${hostile}/`)
    expect(existsSync(proof)).toBe(false)
  }
  chmodSync(hostile, 0o755)
}, 60_000)

test("the build for all processors starts on one without AVX2", async () => {
  const qemu = Bun.which("qemu-x86_64-static") ?? Bun.which("qemu-x86_64")
  if (qemu === null || process.arch !== "x64")
    return console.log("skipped: this needs x86-64 and qemu-x86_64 (qemu-user-static)")
  await install()
  // With --own-bun the binary is that of the Bun which runs the tests: scripts/setup.sh takes the one for all processors.
  const old = await run([qemu, "-cpu", "Nehalem", installed(), "--version"])
  expect(old).toEqual({ exit: 0, said: expect.stringContaining(`banger ${CURRENT} (`) })
  const doctor = await run([qemu, "-cpu", "Nehalem", installed(), "help", "exit-codes"])
  expect(doctor).toMatchObject({ exit: 0 })
}, 60_000)
