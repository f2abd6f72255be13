import { afterAll, afterEach, beforeAll, expect, test } from "bun:test"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { eachInItsPlace } from "./support/place.ts"
import { CURRENT, makeReleases, NEXT, type Releases } from "./support/releases.ts"

const root = join(import.meta.dir, "../..")

/** Lines that another script or test runs as they are: the file, and what of it shows that. */
const ELSEWHERE: Readonly<Record<string, readonly [file: string, text: string]>> = {
  "git clone <this repository> banger && cd banger": [
    "scripts/clean-room",
    'git clone --quiet --no-hardlinks . "$room/banger"',
  ],
  "./scripts/demo": ["scripts/clean-room", "enter ./scripts/demo"],
}

/** Documents whose commands belong together and have a test of their own, which reads them from there. */
const OWN_TEST: Readonly<Record<string, string>> = {
  "docs/testkit.md": "test/system/testkit.test.ts",
  "docs/systemd.md": "test/onhost/systemd.test.ts",
}

/** Lines that go on until they are interrupted, or want a terminal: what they are shown by. */
const UNTIL_INTERRUPTED = /^banger (?:logs -f|attach) /

/** What documents call ./plugin.ts: a VM that goes on until it is stopped. */
const PLUGIN = `export default {
  name: "web",
  kernel: "${root}/dist/guest/vmlinuz",
  initrd: "${root}/dist/guest/initrd.img",
  bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off",
  async preBoot(ctx) {
    ctx.drives.add({ path: await ctx.stage.write("job.sh", "#!/bin/sh\\nwhile :; do sleep 1; done\\n"), readonly: true })
  },
}
`

/** Lines that end otherwise than well where there is no network: how. */
const WITHOUT_NETWORK: readonly [line: RegExp, says: RegExp][] = [
  // A mirror is asked, whose files are others: all but the content is as it should be.
  [/^banger get (?:firecracker|vmlinux-6\.1|ubuntu-24\.04)$/, /is not what it should be: its sha256 is not/],
  [/^banger get mine-too /, /https:\/\/example\.org\/vmlinux cannot be downloaded/],
]

/** Every line of the shell blocks of a document, in order. */
function linesOf(file: string): readonly string[] {
  const blocks = readFileSync(join(root, file), "utf8").matchAll(/^```sh\n(.*?)^```$/gms)
  return [...blocks].flatMap(([, text = ""]) => text.trimEnd().split("\n"))
}
const documents = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)]
const withCommands = documents.filter((file) => linesOf(file).length > 0 && OWN_TEST[file] === undefined)

let releases: Releases
beforeAll(() => {
  releases = makeReleases()
}, 60_000)
afterAll(() => releases.dispose())

const undo: string[][] = []
// Added before the place's own, so that it runs before that one looks whether anything is left.
afterEach(() => {
  for (const argv of undo.splice(0).reverse()) expect(Bun.spawnSync(argv).exitCode).toBe(0)
})
const place = eachInItsPlace()

test("there are documents with commands", () => {
  expect(withCommands).toEqual(expect.arrayContaining(["README.md", "docs/install.md"]))
})

test.each(Object.entries(OWN_TEST))("%s is run by %s", (document, file) => {
  expect(linesOf(document).length).toBeGreaterThan(0)
  expect(readFileSync(join(root, file), "utf8")).toContain(document)
})

test.each(withCommands)(
  "every command of %s does what it says",
  async (file) => {
    const bin = "/usr/local/bin"
    // What is installed there goes with this mount.
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", bin]).exitCode).toBe(0)
    // A supervisor of a VM that was just stopped may be about to end.
    undo.push(["umount", "--lazy", bin])
    // What documents call the directory of somebody's sockets.
    mkdirSync("/run/services")
    undo.push(["rmdir", "/run/services"])
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/run/services"]).exitCode).toBe(0)
    undo.push(["umount", "/run/services"])
    const [cwd, mirror, images] = [join(place.dir, "work"), join(place.dir, "mirror"), join(place.state, "images")]
    for (const path of [cwd, mirror]) mkdirSync(path)
    for (const path of ["firecracker-v1.16.1-x86_64.tgz", "vmlinux-6.1.155-x86_64", "ubuntu-24.04-x86_64.squashfs"])
      writeFileSync(join(mirror, path), "other content")
    writeFileSync(join(cwd, "vmlinux"), "a kernel")
    writeFileSync(join(cwd, "plugin.ts"), PLUGIN)
    const env = {
      ...{ PATH: `${bin}:${process.env.PATH}`, HOME: cwd, BANGER_RELEASES: releases.server.url, BANGER_TIMEOUT: "2" },
      ...{ BANGER_STATE_DIR: place.state, BANGER_RUNTIME_DIR: place.runtime, BANGER_MIRROR: mirror },
    }
    for (const line of linesOf(file)) {
      // A document that tells how to remove banger goes on as if that was not done.
      if (line.startsWith("banger ") && !existsSync(join(bin, "banger"))) await sh(`sh ${releases.script}`, cwd, env)
      const elsewhere = ELSEWHERE[line]
      if (elsewhere !== undefined) {
        expect(readFileSync(join(root, elsewhere[0]), "utf8")).toContain(elsewhere[1])
        continue
      }
      if (line.startsWith("banger update")) releases.server.latest = NEXT
      // As if it had been got: the next lines tell of it, and remove it.
      if (line === "banger get path vmlinux-6.1") writeFileSync(join(images, "vmlinux-6.1.155"), "a kernel")
      const typed = UNTIL_INTERRUPTED.test(line) ? `timeout --signal=INT 2 script -qec ${quoted(line)} /dev/null` : line
      const ended = await sh(typed, /^(?:bun |\.\/scripts\/)/.test(line) ? root : cwd, env)
      if (typed !== line) {
        expect({ line, ...ended }).toEqual({
          line,
          exit: expect.any(Number),
          said: expect.not.stringMatching(/ERROR|\[error\]/),
        })
        continue
      }
      const otherwise = WITHOUT_NETWORK.find(([pattern]) => pattern.test(line))?.[1]
      if (otherwise !== undefined)
        expect({ line, ...ended }).toEqual({ line, exit: 1, said: expect.stringMatching(otherwise) })
      // doctor tells of this host, which may have faults; that it could look is what is tried here.
      else if (line.startsWith("banger doctor"))
        expect({ line, ok: ended.said.includes("kernel") }).toEqual({ line, ok: true })
      else expect({ line, ...ended }).toEqual({ line, exit: 0, said: expect.any(String) })
    }
    releases.server.latest = CURRENT
  },
  120_000,
)

function quoted(line: string): string {
  return `'${line.replaceAll("'", `'\\''`)}'`
}

async function sh(
  line: string,
  cwd: string,
  env: Record<string, string | undefined>,
): Promise<{ exit: number; said: string }> {
  const child = Bun.spawn(["sh", "-c", line], { cwd, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" })
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()])
  return { exit: await child.exited, said: out + err }
}
