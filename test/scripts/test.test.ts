import { beforeEach, expect, test } from "bun:test"
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const at = (...path: string[]) => join(directory.path, ...path)

/** A repository with the script, and a few test files that pass or fail. */
beforeEach(() => {
  cpSync(join(import.meta.dir, "../../scripts"), at("scripts"), { recursive: true })
  for (const dir of ["node_modules", "test/host", "test/system", "test/onhost"]) mkdirSync(at(dir), { recursive: true })
  for (const lock of ["bun.lock", "node_modules/.installed-lock"]) writeFileSync(at(lock), "")
  const body = (name: string, code: string) =>
    `import { test } from "bun:test"\ntest("${name} one", () => {})\ntest("${name} two", () => {${code}})\n`
  writeFileSync(at("test/host/good.test.ts"), body("good", ""))
  writeFileSync(at("test/host/bad.test.ts"), body("bad", 'throw new Error("it is broken")'))
  writeFileSync(at("test/system/run.good.test.ts"), body("system", ""))
  writeFileSync(at("test/onhost/run.test.ts"), body("in a host", ""))
  writeFileSync(at("test/unlike.test.ts"), "no program")
})

interface Ran {
  readonly out: string
  readonly said: string
  readonly last: string | undefined
  readonly exit: number | null
}

const run = (...words: string[]) => runWith({}, ...words)

function runWith(changes: Readonly<Record<string, string>>, ...words: string[]): Ran {
  const env = { ...process.env, ...changes, PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
  const child = Bun.spawnSync([at("scripts/test"), ...words], { env })
  const out = child.stdout.toString()
  return { out, said: child.stderr.toString(), last: out.trimEnd().split("\n").at(-1), exit: child.exitCode }
}

test("a word chooses the files that have it in their path; they are said, and the last line is the total", () => {
  const { out, last, exit } = run("--quick", "good")
  expect(out).toContain("test files: 1 without root, 0 as root, 0 in a host\n  test/host/good.test.ts\n")
  expect({ last, exit }).toEqual({ last: "2 passed, 0 failed", exit: 0 })
})

test("a line for each tier says that it runs, or why it does not; the real Firecracker's is found where it was put", () => {
  cpSync(join(import.meta.dir, "../real.ts"), at("test/real.ts"))
  const tiers = (...words: string[]) => run(...words).out.match(/^tier .*$/gm)
  const none = "left out: none of its files was asked for"
  expect(tiers("--quick", "good")).toEqual([
    "tier pure: files: 1",
    `tier double: ${none}`,
    "tier system: left out: --quick leaves it out",
    "tier host: left out: --quick leaves it out",
    "tier real Firecracker: left out: --quick leaves it out",
  ])
  const missing = at("nowhere")
  expect(runWith({ BANGER_TEST_FIRECRACKER: missing, BANGER_TEST_QUICK: "" }, "test/host").out).toContain(
    `tier system: ${none}\ntier host: ${none}\ntier real Firecracker: left out: ${missing}/firecracker is not there or cannot be run\n`,
  )
})

test("host is the tier of that name, and no word; where no host can be made, it is left out, and the others run", () => {
  const nowhere = { BANGER_HOST_MIRROR: "http://127.0.0.1:1/debian", BANGER_TEST_HOST_IMAGES: at("images") }
  const alone = runWith(nowhere, "host")
  expect(alone.out).toContain("0 as root, 1 in a host\n  test/onhost/run.test.ts\n")
  expect(alone.out).toMatch(/^tier host: left out: .*(?:needs root|cannot fetch Debian's index)/m)
  expect({ said: alone.said, exit: alone.exit }).toEqual({ said: expect.stringContaining("no test ran"), exit: 1 })
  expect(runWith(nowhere, "host", "host/good").last).toBe("2 passed, 0 failed")
})

test("of the host tier a whole run has none, all, or what is short", () => {
  writeFileSync(at("test/onhost/cuts.long.test.ts"), "")
  rmSync(at("test/system"), { recursive: true })
  const nowhere = { BANGER_HOST_MIRROR: "http://127.0.0.1:1/debian", BANGER_TEST_HOST_IMAGES: at("images") }
  const out = (how: string) => runWith({ ...nowhere, BANGER_TEST_WITH_HOST: how }).out
  expect(out("yes")).toContain(" 2 in a host\n")
  expect(out("short")).toContain(" 1 in a host\n")
  expect(out("no")).toContain("\ntier host: left out: it takes minutes")
})

test.skipIf(process.getuid?.() !== 0)(
  "a host that ends in the middle of its tests is no verdict: they run again",
  () => {
    for (const [path, code] of [
      ["scripts/build.ts", ""],
      ["scripts/guest-image", "#!/bin/sh\n"],
      [
        "scripts/host",
        '#!/bin/sh\n[ "$1" = make ] || [ -f once ] || { touch once; echo " 1 fail"; exit 125; }\necho " 3 pass"\n',
      ],
      ["dist/banger", ""],
      ["dist/guest/vmlinux", ""],
      ["plugins/hello.ts", ""],
      ["test/fixtures/plugins/guest.ts", ""],
    ] as const) {
      mkdirSync(dirname(at(path)), { recursive: true })
      writeFileSync(at(path), code, { mode: 0o755 })
    }
    const { out, last, exit } = run("host")
    expect(out).toContain("they run once more")
    expect({ last, exit }).toEqual({ last: "3 passed, 0 failed", exit: 0 })
  },
)

test("a directory, a file, several words; what fails is counted, and fails the script", () => {
  for (const words of [
    ["test/host"],
    ["./test/host/"],
    ["good.test", "host/bad"],
    ["test/host/bad.test.ts", "test/host"],
  ]) {
    const { out, last, exit } = run("--quick", ...words)
    expect(out).toMatch(/it is broken[\s\S]*\nwhat failed:\n[\s\S]*it is broken/)
    expect({ words, last, exit }).toEqual({ words, last: "3 passed, 1 failed", exit: 1 })
  }
})

test("a file that does not load fails the script, with no test to blame", () => {
  const { out, last, exit } = run("unlike")
  expect(out).toMatch(/\nwhat failed:\n[\s\S]*unlike\.test\.ts/)
  expect({ last, exit }).toEqual({ last: "0 passed, 1 failed", exit: 1 })
})

test("flags after -- are bun test's own; where they choose no test at all, that is a failure", () => {
  expect(run("test/host", "--", "-t", "one")).toMatchObject({ last: "2 passed, 0 failed", exit: 0 })
  const { said, exit } = run("test/host", "--", "-t", "three")
  expect(said).toContain("no test ran")
  expect(exit).toBe(1)
})

test.each([
  [["nothing-like-it"]],
  [["test/hos"]],
  [["--quick", "system"]],
  [["--quick", "test/system/run.good.test.ts"]],
])("%p matches no file: that is said, and fails", (words) => {
  const { out, said, exit } = run(...words)
  expect(said).toContain(`no test file has one of these in its path: ${words.at(-1)}`)
  expect({ out, exit }).toEqual({ out: "", exit: 1 })
})

test("--help tells how it is used; an unknown option is refused with that", () => {
  expect(run("--help")).toMatchObject({ out: expect.stringContaining("./scripts/test --quick"), exit: 0 })
  const { said, exit } = run("--qiuck")
  expect(said).toContain("there is no option --qiuck; flags for bun test follow --")
  expect(said).toContain("./scripts/test --quick")
  expect(exit).toBe(2)
})
