import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test"
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { addToMirror } from "../../scripts/releases/mirror.ts"
import { signRaw, signSsh } from "../../scripts/releases/sign.ts"
import { stageName, TRASH } from "../../src/host/jail/base.ts"
import { installScript, newKey, smallProgram, writeRelease, writeSums } from "../fixtures/release.ts"
import { type ReleaseServer, serveReleases, stalling } from "../fixtures/releaseServer.ts"
import { startLoopback } from "./support/namespace.ts"

const key = newKey()
let dir = ""
let server: ReleaseServer
let script = ""

beforeAll(() => {
  startLoopback()
  dir = mkdtempSync(join(tmpdir(), "banger-install-"))
  writeRelease(join(dir, "releases"), { version: "0.1.0", key })
  writeRelease(join(dir, "releases"), { version: "0.2.0", key })
  server = serveReleases(join(dir, "releases"), "0.2.0")
  script = join(dir, "install.sh")
  writeFileSync(script, installScript(key, server.url))
  // Whose certificate nobody knows; curl is told of it where it is to be trusted.
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
  const files = ["-keyout", join(dir, "tls.key"), "-out", join(dir, "tls.crt")]
  const made = Bun.spawnSync([
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-days",
    "1",
    ...subject,
    ...files,
  ])
  expect(made.exitCode).toBe(0)
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true })
})
beforeEach(() => {
  server.faults.clear()
  server.latest = "0.2.0"
  rmSync(join(dir, "home"), { recursive: true, force: true })
  mkdirSync(join(dir, "home"))
})

const shells = [["dash"], ["busybox", "ash"]].filter(([name = ""]) => {
  if (Bun.which(name) !== null) return true
  console.log(`install.sh is not tried by ${name}: it is not here`)
  return false
})

interface Ended {
  readonly exit: number
  readonly said: string
}

const bin = () => join(dir, "home/.local/bin")
const installed = () => join(bin(), "banger")
const left = () => (existsSync(bin()) ? readdirSync(bin()).sort() : [])

/** Runs a script by a shell, from its standard input as `curl … | sh` does. */
async function install(
  args: readonly string[] = [],
  env: Record<string, string> = {},
  shell = ["sh"],
  text?: string,
): Promise<Ended> {
  const child = Bun.spawn(
    [Bun.which(shell[0] ?? "") ?? "", ...shell.slice(1), "-s", "--", "--prefix", join(dir, "home/.local"), ...args],
    {
      stdin: Buffer.from(text ?? readFileSync(script)),
      stdout: "pipe",
      stderr: "pipe",
      env: { PATH: process.env.PATH, HOME: join(dir, "home"), TMPDIR: dir, BANGER_TIMEOUT: "2", ...env },
    },
  )
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()])
  return { exit: await child.exited, said: out + err }
}

/** A directory of these programs alone, besides those that any system has. */
function pathWith(...names: string[]): string {
  const path = mkdtempSync(join(dir, "path-"))
  const always = [
    "uname",
    "id",
    "mkdir",
    "mktemp",
    "rm",
    "cat",
    "sed",
    "head",
    "tail",
    "grep",
    "sha256sum",
    "tar",
    "gzip",
    "chmod",
    "sync",
    "cmp",
    "ln",
    "cp",
    "mv",
    "tr",
    "stat",
  ]
  for (const name of [...always, ...names]) symlinkSync(Bun.which(name) ?? `/nonexistent/${name}`, join(path, name))
  return path
}

describe.each(shells)("%s", (...shell) => {
  const words = shell.filter((word) => typeof word === "string")

  test("installs, upgrades over what is there and keeps that, and removes both", async () => {
    const first = await install(["--version", "v0.1.0"], {}, words)
    expect(first.said).toContain("banger 0.1.0 (small) is installed: ")
    expect(first.said).toContain("checked by its signature and sum")
    expect(first.said).toContain(`export PATH="${bin()}:$PATH"`)
    expect(first.exit).toBe(0)
    expect(left()).toEqual(["banger"])
    const second = await install([], {}, words)
    expect(second.said).toContain("banger 0.2.0 (small) is installed")
    expect(left()).toEqual(["banger", "banger.old"])
    expect(readFileSync(join(bin(), "banger.old"), "utf8")).toBe(smallProgram("0.1.0"))
    expect((await install([], {}, words)).said).toContain("is installed already")
    expect(readFileSync(join(bin(), "banger.old"), "utf8")).toBe(smallProgram("0.1.0"))
    expect((await install(["--uninstall", "--dry-run"], {}, words)).said).toContain(`would remove ${installed()}`)
    expect(left()).toEqual(["banger", "banger.old"])
    expect(await install(["--uninstall"], {}, words)).toMatchObject({ exit: 0 })
    expect(left()).toEqual([])
  })

  test("cut anywhere it does nothing", async () => {
    const text = readFileSync(script, "utf8")
    const ends = [...text.slice(-30)].map((_, index) => text.length - 30 + index)
    const cuts = [...Array.from({ length: Math.floor(text.length / 1024) }, (_, index) => (index + 1) * 1024), ...ends]
    expect(cuts.length).toBeGreaterThan(40)
    const before = server.asked.length
    // The last two bytes are the closing brace and the newline: without the newline alone it is whole.
    for (const cut of cuts.filter((each) => each < text.length - 1)) {
      const { exit } = await install([], {}, words, text.slice(0, cut))
      expect({ cut, exit: exit === 0 && !/\b(?:main|exit)\b/.test(text.slice(cut)) }).toEqual({ cut, exit: false })
      expect(left()).toEqual([])
    }
    expect(server.asked.length).toBe(before)
  })

  // busybox's shell takes its own wget for the one in PATH, and where it is linked statically that one may crash.
  test.each(words[0] === "busybox" ? ["curl"] : ["curl", "wget"])(
    "by %s: each fault is a clear error, and the old banger stays as it is",
    async (downloader) => {
      const PATH = pathWith(downloader, "ssh-keygen", "openssl")
      expect(await install(["--version", "0.1.0"], { PATH }, words)).toMatchObject({ exit: 0 })
      const before = readFileSync(installed(), "utf8")
      const sums = readFileSync(join(dir, "releases/download/v0.2.0/SHA256SUMS"), "utf8")
      const faults: [string, () => void, RegExp][] = [
        [
          "a damaged archive",
          () => server.faults.set(".tar.gz", (_, content) => new Response(content.toReversed())),
          /is not what the release has: its sha256 is/,
        ],
        [
          "a cut archive",
          () => server.faults.set(".tar.gz", (_, content) => new Response(content.slice(0, 99))),
          /is not what the release has/,
        ],
        [
          "a wrong sum",
          () => server.faults.set("SHA256SUMS", () => new Response(sums.replace(/^./gm, "0"))),
          /signature .* is not the project's/,
        ],
        [
          "no list of sums",
          () => server.faults.set("SHA256SUMS", () => new Response("<html>")),
          /is no list of a release's sums/,
        ],
        [
          "a redirect to http",
          () => server.faults.set(".tar.gz", () => Response.redirect(`${server.url}/download/v0.1.0/SHA256SUMS`)),
          /https|[Pp]rotocol/,
        ],
        ["a stall", () => server.faults.set(".tar.gz", stalling(10)), /stalled|timed out/],
        [
          "a list of sums without an end",
          () => server.faults.set("SHA256SUMS", () => new Response(new Uint8Array(3 * 2 ** 20))),
          /SHA256SUMS is larger than it may be/,
        ],
        [
          "what a terminal would obey",
          () =>
            server.faults.set(
              "SHA256SUMS",
              () => new Response("", { status: 302, headers: { location: "http://x/\u009b\u0080[2J" } }),
            ),
          /^[^\x00-\x08\x0b-\x1f\x7f]*$/,
        ],
        [
          "a broken server",
          () => server.faults.set(".tar.gz", () => new Response("", { status: 404 })),
          /cannot download .*404/,
        ],
      ]
      for (const [name, spoil, message] of faults) {
        server.faults.clear()
        spoil()
        const { exit, said } = await install([], { PATH, BANGER_TIMEOUT: "1" }, words)
        expect({ name, exit, said }).toEqual({ name, exit: 1, said: expect.stringMatching(message) })
        expect({ name, left: left() }).toEqual({ name, left: ["banger"] })
        expect(readFileSync(installed(), "utf8")).toBe(before)
      }
    },
    60_000,
  )
})

test("another key's signature, and an old release as the latest, are refused", async () => {
  writeFileSync(join(dir, "other.sh"), installScript(newKey(), server.url))
  const other = await install([], {}, ["sh"], readFileSync(join(dir, "other.sh"), "utf8"))
  expect(other.said).toContain("is not the project's: what is there was altered")
  expect(await install()).toMatchObject({ exit: 0 })
  server.latest = "0.1.0"
  const older = await install()
  expect(older.said).toContain("the latest release there is 0.1.0, older than what is installed (0.2.0)")
  expect(older.said).toContain("to go back to it all the same: --version 0.1.0")
  // Under the name of another version it does not pass either.
  server.faults.set("v0.3.0/SHA256SUMS", () => new Response("x"))
  mkdirSync(join(dir, "releases/download/v0.3.0"), { recursive: true })
  for (const name of ["SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.sshsig"])
    writeFileSync(
      join(dir, "releases/download/v0.3.0", name),
      readFileSync(join(dir, "releases/download/v0.1.0", name)),
    )
  server.faults.clear()
  expect((await install(["--version", "0.3.0"])).said).toContain("is the release 0.1.0, not 0.3.0")
  rmSync(join(dir, "releases/download/v0.3.0"), { recursive: true })
  expect(await install(["--version", "0.1.0"])).toMatchObject({ exit: 0 })
})

test.each([
  ["ssh-keygen", /checked by its signature and sum/],
  ["openssl", /checked by its signature and sum/],
  ["true", /checked by its sum alone: neither ssh-keygen nor openssl/],
] as const)("with %s it says what was checked", async (tool, message) => {
  const { exit, said } = await install([], { PATH: pathWith("curl", tool) })
  expect(said).toMatch(message)
  expect(exit).toBe(0)
})

test("neither curl nor wget, and a wget that knows no certificates", async () => {
  const none = await install([], { PATH: pathWith() })
  expect(none).toEqual({
    exit: 1,
    said: "install.sh: neither curl nor wget is there\ninstall curl, then run this again\n",
  })
  const plain = pathWith()
  writeFileSync(
    join(plain, "wget"),
    '#!/bin/sh\n[ "$1" = --version ] && echo BusyBox && exit\nshift 4\nexec curl -fsSko "$1" "$2"\n',
    { mode: 0o755 },
  )
  symlinkSync(Bun.which("curl") ?? "", join(plain, "curl-of-wget"))
  await using tls = serveReleases(join(dir, "releases"), "0.2.0", certificate())
  writeFileSync(
    join(plain, "wget"),
    `#!/bin/sh\n[ "$1" = --version ] && echo BusyBox && exit\nexec ${Bun.which("curl")} -fsSko "$5" "$6"\n`,
    { mode: 0o755 },
  )
  rmSync(join(plain, "curl-of-wget"))
  const env = { PATH: plain, BANGER_RELEASES: tls.url }
  expect((await install([], env)).said).toContain("this wget does not check whom it downloads from")
  symlinkSync(Bun.which("openssl") ?? "", join(plain, "openssl"))
  expect(await install([], env)).toMatchObject({ exit: 0 })
})

test.each(["curl", "wget"])(
  "by %s from https: an unknown certificate and a redirect to http are refused",
  async (downloader) => {
    const PATH = pathWith(downloader, "openssl")
    await using tls = serveReleases(join(dir, "releases"), "0.2.0", certificate())
    const stranger = await install([], { PATH, BANGER_RELEASES: tls.url })
    expect(stranger).toEqual({ exit: 1, said: expect.stringMatching(/certificate/i) })
    writeFileSync(join(dir, "wgetrc"), `ca_certificate = ${join(dir, "tls.crt")}\n`)
    const trusting = {
      PATH,
      BANGER_RELEASES: tls.url,
      CURL_CA_BUNDLE: join(dir, "tls.crt"),
      WGETRC: join(dir, "wgetrc"),
    }
    tls.faults.set(".tar.gz", () => Response.redirect(`${server.url}/download/v0.2.0/SHA256SUMS`))
    const before = server.asked.length
    expect(await install([], trusting)).toEqual({ exit: 1, said: expect.stringMatching(/not https|Protocol "http"/) })
    expect(server.asked.length).toBe(before)
    expect(left()).toEqual([])
    tls.faults.clear()
    tls.faults.set("SHA256SUMS", () => Response.redirect(`${tls.url}/download/v0.2.0/SHA256SUMS.sig`))
    expect((await install([], trusting)).said).toContain("is no list of a release's sums")
    // From one place of the same server to another, as nginx says it.
    tls.faults.clear()
    tls.faults.set(
      ".tar.gz",
      () => new Response("", { status: 302, headers: { location: "/releases/download/v0.2.0/install.sh" } }),
    )
    expect((await install([], trusting)).said).toMatch(/is not what the release has|cannot download .*404/)
    tls.faults.clear()
    expect(await install([], trusting)).toMatchObject({ exit: 0 })
  },
)

test.each([
  ["http://example.org/releases", "http is for loopback alone"],
  ["http://localhost.example.org/releases", "http is for loopback alone"],
  ["http://127.0.0.1@example.org/releases", "http is for loopback alone"],
  ["http://127.0.0.1:80@example.org/releases", "give an https URL"],
  ["ftp://example.org", "give an https URL, or file:///DIR"],
  ["x", "give an https URL, or file:///DIR"],
] as const)("BANGER_RELEASES=%s is refused", async (url, message) => {
  expect(await install([], { BANGER_RELEASES: url })).toEqual({ exit: 1, said: expect.stringContaining(message) })
})

test("releases in a directory", async () => {
  symlinkSync("download/v0.2.0", join(dir, "releases/latest"))
  mkdirSync(join(dir, "offline/latest"), { recursive: true })
  symlinkSync(join(dir, "releases/download"), join(dir, "offline/download"))
  symlinkSync(join(dir, "releases/download/v0.2.0"), join(dir, "offline/latest/download"))
  expect(await install([], { BANGER_RELEASES: `file://${dir}/offline`, PATH: pathWith() })).toMatchObject({ exit: 0 })
  expect(await install(["--version", "9"], { BANGER_RELEASES: `file://${dir}/offline` })).toMatchObject({
    exit: 1,
    said: expect.stringContaining("cannot download"),
  })
})

test.each([
  [["--prefix"], "--prefix needs a value"],
  [["--version="], "--version needs a value"],
  [["--version", "../../x"], "is no version"],
  [["--versoin", "1"], "there is no option --versoin"],
  [["--purge"], "--purge goes with --uninstall"],
] as const)("%p is wrong usage", async (args, message) => {
  expect(await install(args)).toEqual({ exit: 2, said: expect.stringContaining(message) })
})

const ALL = "fpu avx2 bmi1 bmi2 fma f16c movbe"

test.each([
  ["x86_64", ALL, "ldd (Debian GLIBC 2.36) 2.36", "banger-linux-x64.tar.gz"],
  ["amd64", `${ALL} vmx`, "ldd (GNU libc) 2.40", "banger-linux-x64.tar.gz"],
  ["x86_64", ALL.replace("avx2 ", "avx "), "GNU", "banger-linux-x64-baseline.tar.gz"],
  ["x86_64", ALL.replace(" movbe", ""), "GNU", "banger-linux-x64-baseline.tar.gz"],
  ["x86_64", "", "GNU", "banger-linux-x64-baseline.tar.gz"],
  ["x86_64", ALL, "musl libc (x86_64)", "banger-linux-x64-musl.tar.gz"],
  ["x86_64", "fpu", "musl libc (x86_64)", "banger-linux-x64-baseline-musl.tar.gz"],
  ["aarch64", "", "GNU", "banger-linux-arm64.tar.gz"],
  ["arm64", "", "musl libc (aarch64)", "banger-linux-arm64-musl.tar.gz"],
  ["riscv64", "", "GNU", "there is no banger for riscv64"],
])("on %s with %p by %p it takes %s", async (machine, flags, ldd, taken) => {
  const path = pathWith("curl", "mount", "sh")
  rmSync(join(path, "uname"))
  const write = (name: string, text: string) => writeFileSync(join(path, name), text, { mode: 0o755 })
  write("uname", `#!/bin/sh\ncase $1 in -m) echo ${machine} ;; *) echo Linux ;; esac\n`)
  // musl's tells its name as an error.
  write("ldd", `#!/bin/sh\necho '${ldd}' ${ldd.startsWith("musl") ? ">&2; exit 1" : ""}\n`)
  writeFileSync(join(dir, "cpuinfo"), `processor\t: 0\nflags\t\t: ${flags}\n`)
  const text = `mount --bind ${join(dir, "cpuinfo")} /proc/cpuinfo; exec sh ${script} --dry-run`
  const child = Bun.spawn([Bun.which("unshare") ?? "", "--mount", "sh", "-c", text], {
    env: { PATH: path, HOME: join(dir, "home"), TMPDIR: dir },
    stderr: "pipe",
  })
  expect(await child.stderr.text()).toContain(taken)
})

test("a binary that does not run, or is of another version, is not put in place", async () => {
  const out = writeRelease(join(dir, "releases"), {
    version: "0.4.0",
    key,
    program: "#!/bin/sh\necho no luck >&2; exit 3\n",
  })
  expect((await install(["--version", "0.4.0"])).said).toMatch(/does not run here: no luck/)
  writeRelease(join(dir, "releases"), { version: "0.4.0", key, program: smallProgram("0.1.0") })
  expect((await install(["--version", "0.4.0"])).said).toContain("the release 0.4.0 holds 'banger 0.1.0 (small)'")
  writeSums(out, "x  y\n", key)
  expect((await install(["--version", "0.4.0"])).said).toContain("is no list of a release's sums")
  rmSync(out, { recursive: true })
  expect(left()).toEqual([])
})

test("leftovers of a killed install go with the next one; those of a running one stay", async () => {
  mkdirSync(bin(), { recursive: true })
  for (const name of [".banger.new.999999999", ".banger.new.999999999.aBc123", `.banger.new.${process.pid}.aBc123`])
    writeFileSync(join(bin(), name), "x")
  expect(await install()).toMatchObject({ exit: 0 })
  expect(left()).toEqual([`.banger.new.${process.pid}.aBc123`, "banger"])
})

test("a killed install's leftover of the same pid, as in containers, is not in the way; without /proc none is taken", async () => {
  mkdirSync(bin(), { recursive: true })
  writeFileSync(join(bin(), ".banger.new.999999999"), "x")
  const again = `: > "${bin()}/.banger.new.$$"; . "${script}"`
  const run = async (unshared: string[], text: string) => {
    const child = Bun.spawn([...unshared, "sh", "-c", text, "sh", "--prefix", join(dir, "home/.local")], {
      env: { PATH: process.env.PATH, HOME: join(dir, "home"), TMPDIR: dir },
      stderr: "pipe",
    })
    return { said: await child.stderr.text(), exit: await child.exited }
  }
  const blind = await run(["unshare", "--mount", "sh", "-c", 'umount --lazy /proc; exec "$@"', "sh"], again)
  expect(blind).toMatchObject({ exit: 0 })
  expect(left().filter((name) => name.startsWith(".banger.new.")).length).toBe(2)
  rmSync(installed())
  expect(await run([], again)).toMatchObject({ exit: 0 })
  expect(left()).toContain("banger")
  expect(left()).not.toContain(".banger.new.999999999")
})

test("six at once, some of them killed: a whole banger, and nothing else once one has come to its end", async () => {
  const env = { PATH: process.env.PATH, HOME: join(dir, "home"), TMPDIR: dir }
  const argv = ["sh", script, "--prefix", join(dir, "home/.local"), "--version"]
  const all = Array.from({ length: 6 }, (_, index) =>
    Bun.spawn([...argv, index % 2 === 0 ? "0.1.0" : "0.2.0"], { env, stderr: "ignore" }),
  )
  all.slice(4).forEach((child, index) => void Bun.sleep(60 * (index + 1)).then(() => child.kill("SIGKILL")))
  const ends = await Promise.all(all.map(({ exited }) => exited))
  expect(ends.slice(0, 4)).toEqual([0, 0, 0, 0])
  expect([smallProgram("0.1.0"), smallProgram("0.2.0")]).toContain(readFileSync(installed(), "utf8"))
  // A child of a killed one may still be writing.
  await Bun.sleep(200)
  for (const name of readdirSync(dir)) if (name.startsWith("tmp.")) rmSync(join(dir, name), { recursive: true })
  expect(await install()).toMatchObject({ exit: 0 })
  expect(left()).toEqual(["banger", "banger.old"])
})

test("a release that comes out in between does not mix with the one before", async () => {
  server.latest = "0.1.0"
  server.faults.set("v0.1.0/SHA256SUMS", () => {
    server.latest = "0.2.0"
    return undefined
  })
  expect(await install()).toEqual({ exit: 0, said: expect.stringContaining("banger 0.1.0 (small) is installed") })
})

test("a pre-release is older than its release, and is not taken for the latest of the two", async () => {
  for (const version of ["0.2.0-rc.2", "0.2.0-rc.10"]) writeRelease(join(dir, "releases"), { version, key })
  expect(await install(["--version", "0.2.0-rc.2"])).toMatchObject({ exit: 0 })
  expect(await install()).toMatchObject({ exit: 0 })
  server.latest = "0.2.0-rc.10"
  expect((await install()).said).toContain("0.2.0-rc.10, older than what is installed (0.2.0)")
  expect(readFileSync(installed(), "utf8")).toBe(smallProgram("0.2.0"))
  for (const version of ["0.2.0-rc.2", "0.2.0-rc.10"])
    rmSync(join(dir, "releases/download", `v${version}`), { recursive: true })
})

test("by sudo with another user's HOME, what curl and wget would read there is not read", async () => {
  const home = join(dir, "home")
  for (const name of [".curlrc", ".wgetrc"])
    writeFileSync(join(home, name), "proxy = http://127.0.0.1:1\nhttp_proxy = http://127.0.0.1:1\nuse_proxy = on\n")
  for (const downloader of ["curl", "wget"]) {
    const PATH = pathWith(downloader, "openssl")
    chownSync(home, 0, 0)
    expect(await install([], { PATH })).toMatchObject({ exit: 1 })
    chownSync(home, 12345, 12345)
    expect(await install([], { PATH })).toMatchObject({ exit: 0 })
  }
})

test("--purge takes records away, and refuses while something runs", async () => {
  const state = join(dir, "home/state")
  const env = { BANGER_STATE_DIR: state, BANGER_RUNTIME_DIR: join(dir, "home/run") }
  for (const path of [join(state, "vms/x"), join(dir, "home/run/x")]) mkdirSync(path, { recursive: true })
  expect(await install()).toMatchObject({ exit: 0 })
  const refused = await install(["--uninstall", "--purge"], env)
  expect(refused).toEqual({ exit: 1, said: expect.stringContaining(`left ${join(dir, "home/run/x")}`) })
  expect(left()).toEqual(["banger"])
  rmSync(join(dir, "home/run/x"), { recursive: true })
  const kept = await install(["--uninstall"], env)
  expect(kept.said).toContain(`${state} stays; with --purge it goes too`)
  expect(await install(["--uninstall", "--purge"], env)).toMatchObject({ exit: 0 })
  expect(existsSync(state)).toBe(false)
  rmSync(join(dir, "home/run"), { recursive: true, force: true })
  mkdirSync(join(dir, "home/photos"))
  const mistaken = await install(["--uninstall", "--purge"], { ...env, BANGER_STATE_DIR: join(dir, "home") })
  expect(mistaken.said).toContain(`${join(dir, "home/photos")} is not known to be banger's`)
  expect(existsSync(join(dir, "home/photos"))).toBe(true)
  // Where src/host/jail has jails: in their place, half made, half removed.
  for (const path of ["qemu/web-1", stageName("web-1"), `${TRASH}/web-1.0.1`].map((name) =>
    join(state, "jail", name),
  )) {
    mkdirSync(path, { recursive: true })
    const jailed = await install(["--uninstall", "--purge"], env)
    expect(jailed.said).toContain(`left ${path}`)
    rmSync(path, { recursive: true })
  }
  // The locks of a sweep are no VM's.
  mkdirSync(join(dir, "home/run/sweep"), { recursive: true })
  const blind = Bun.spawnSync(
    ["unshare", "--mount", "sh", "-c", 'umount --lazy /proc; exec "$@"', "sh", "sh", script, "--uninstall", "--purge"],
    { env: { PATH: process.env.PATH, HOME: join(dir, "home"), ...env } },
  )
  expect(blind.stderr.toString()).toContain("without /proc it cannot be told")
  expect([blind.exitCode, existsSync(state)]).toEqual([1, true])
  expect(await install(["--uninstall", "--purge"], env)).toMatchObject({ exit: 0 })
  expect([existsSync(state), existsSync(join(dir, "home/run"))]).toEqual([false, false])
  symlinkSync("/etc", state)
  expect((await install(["--uninstall", "--purge"], env)).said).toContain("is a symlink")
})

/** Runs a program with a text as its standard input; its exit code. */
function check(argv: readonly string[], input: string): number {
  return Bun.spawnSync([...argv], { stdin: Buffer.from(input), cwd: dir }).exitCode
}

test("OpenSSH takes a release's signature, and none of another text, key or namespace", () => {
  const text = "0123  banger\n"
  writeFileSync(join(dir, "sig"), signSsh(Buffer.from(text), key))
  writeFileSync(join(dir, "signers"), `banger ssh-ed25519 ${key.ssh}\nother ssh-ed25519 ${newKey().ssh}\n`)
  const verify = (who: string, namespace: string) =>
    `ssh-keygen -Y verify -f signers -I ${who} -n ${namespace} -s sig`.split(" ")
  expect(check(verify("banger", "banger-release"), text)).toBe(0)
  expect(check(verify("banger", "banger-release"), `${text} `)).not.toBe(0)
  expect(check(verify("other", "banger-release"), text)).not.toBe(0)
  expect(check(verify("banger", "file"), text)).not.toBe(0)
})

test("OpenSSL takes a release's signature, and none of another text", () => {
  writeFileSync(join(dir, "key"), `-----BEGIN PUBLIC KEY-----\n${key.pem}\n-----END PUBLIC KEY-----\n`)
  writeFileSync(join(dir, "sig"), signRaw(Buffer.from("sums"), key))
  const verify = (file: string, text: string) => {
    writeFileSync(join(dir, file), text)
    return check(`openssl pkeyutl -verify -pubin -inkey key -rawin -in ${file} -sigfile sig`.split(" "), "")
  }
  expect(verify("good", "sums")).toBe(0)
  expect(verify("bad", "sumz")).not.toBe(0)
})

test("nothing it makes for itself stays", () => {
  expect(readdirSync(dir).filter((name) => name.startsWith("tmp."))).toEqual([])
})

function certificate(): { cert: string; key: string } {
  return { cert: readFileSync(join(dir, "tls.crt"), "utf8"), key: readFileSync(join(dir, "tls.key"), "utf8") }
}

test("a mirror that the release script makes is installed and updated from, by file:// and by a plain web server", async () => {
  const mirror = join(dir, "mirror")
  for (const version of ["0.1.0", "0.2.0"]) {
    const release = join(dir, "releases/download", `v${version}`)
    writeFileSync(join(release, "install.sh"), readFileSync(script))
    addToMirror(release, mirror, version)
  }
  await using web = serveFiles(mirror)
  for (const releases of [`file://${mirror}`, web.url]) {
    const text = readFileSync(join(mirror, "latest/download/install.sh"), "utf8")
    const first = await install(["--version", "0.1.0"], { BANGER_RELEASES: releases }, ["sh"], text)
    expect(first.said).toContain("banger 0.1.0 (small) is installed: ")
    const second = await install([], { BANGER_RELEASES: releases }, ["sh"], text)
    expect(second.said).toContain("banger 0.2.0 (small) is installed: ")
    expect(second.said).toContain("checked by its signature and sum")
    rmSync(bin(), { recursive: true })
  }
  expect(readdirSync(mirror).sort()).toEqual(["download", "latest"])
})

test("what is installed already is not downloaded again, unless its version is named", async () => {
  await install()
  server.asked.length = 0
  const again = await install()
  expect(again.said).toContain("banger 0.2.0 is installed already")
  expect(server.asked.filter((path) => path.endsWith(".tar.gz"))).toEqual([])
  expect(left()).toEqual(["banger"])
  const named = await install(["--version", "0.2.0"])
  expect(named.said).toContain("is installed already")
  expect(server.asked.filter((path) => path.endsWith(".tar.gz"))).toHaveLength(1)
  writeFileSync(installed(), "#!/bin/sh\necho banger 0.2.0 damaged\n", { mode: 0o755 })
  expect((await install(["--version", "0.2.0"])).said).toContain("banger 0.2.0 (small) is installed: ")
})

/** A web server that knows files and nothing else, as most are. */
function serveFiles(root: string): AsyncDisposable & { readonly url: string } {
  const web = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const file = Bun.file(join(root, new URL(request.url).pathname))
      return (await file.exists()) ? new Response(file) : new Response("none\n", { status: 404 })
    },
  })
  return { url: `http://127.0.0.1:${web.port}`, [Symbol.asyncDispose]: () => web.stop(true) }
}
