import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { openDatabase } from "../../src/store/state/database.ts"
import { insertRecord } from "../../src/store/state/records.ts"
import { PROGRAM } from "../program.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function cli(...args: string[]) {
  const env = {
    PATH: process.env.PATH,
    BANGER_STATE_DIR: join(directory.path, "state"),
    BANGER_RUNTIME_DIR: join(directory.path, "run"),
  }
  const run = Bun.spawnSync([...PROGRAM, ...args], { env, cwd: directory.path })
  return { stdout: run.stdout.toString(), stderr: run.stderr.toString(), exit: run.exitCode }
}

/** What is offered for a command line whose last word is not finished. */
function offered(...words: string[]): readonly string[] {
  const { stdout, stderr, exit } = cli("complete", "--", ...words)
  expect({ stderr, exit }).toEqual({ stderr: "", exit: 0 })
  const lines = stdout.trimEnd().split("\n")
  expect(lines.at(-1)).toMatch(/^:\d+$/)
  return lines.slice(0, -1).map((line) => line.split("\t")[0] ?? "")
}

test("commands, options, their values, topics", () => {
  expect(offered("")).toEqual(expect.arrayContaining(["run", "doctor", "get", "update", "help", "version"]))
  expect(offered("ru")).toEqual(["run"])
  expect(offered("run", "--pl")).toEqual(["--plan"])
  expect(offered("run", "--")).toEqual(expect.arrayContaining(["--name", "--json", "--help"]))
  expect(offered("run", "--")).not.toContain("--plugin")
  expect(offered("run", "--vmm", "")).toEqual(["auto", "firecracker", "qemu"])
  expect(offered("help", "exit")).toEqual(["exit-codes"])
  expect(offered("net", "rm", "--")).toEqual(expect.arrayContaining(["--dry-run", "--json"]))
  expect(offered("net", "ls", "--")).not.toContain("--dry-run")
  expect(offered("get", "pa")).toEqual(["path"])
  expect(offered("get", "vm")).toEqual(["vmlinux-6.1.155", "vmlinux-6.1"])
  expect(offered("nonsense", "")).toEqual([])
})

test("plugins, and directories on the way to them", () => {
  mkdirSync(join(directory.path, "dir"))
  for (const name of ["a.ts", "b.txt", "dir/c.ts", "$(reboot).ts", "x y.ts", "a\nb.ts"])
    writeFileSync(join(directory.path, name), "throw new Error('loaded')")
  expect(offered("run", "")).toEqual(["a.ts", "dir/"])
  expect(offered("run", "dir/")).toEqual(["dir/c.ts"])
  expect(offered("run", "none/x")).toEqual([])
})

test("disks by name, for what is done with one; nothing is made", () => {
  expect(offered("disk", "rm", "")).toEqual([])
  expect(existsSync(join(directory.path, "state"))).toBe(false)
  mkdirSync(join(directory.path, "state/disks"), { recursive: true, mode: 0o700 })
  for (const name of ["web-data.raw", ".other.lock", "Bad.raw"])
    writeFileSync(join(directory.path, "state/disks", name), "x".repeat(512))
  for (const action of ["rm", "export", "import", "resize"]) expect(offered("disk", action, "w")).toEqual(["web-data"])
  expect(offered("disk", "")).toEqual(["ls", "rm", "export", "import", "resize"])
})

test("VMs on record, and nothing where there is no record or an unreadable one; nothing is made", () => {
  expect(offered("rm", "")).toEqual([])
  expect(existsSync(join(directory.path, "state"))).toBe(false)
  mkdirSync(join(directory.path, "state"), { mode: 0o700 })
  const db = openDatabase(join(directory.path, "state"))
  const record = { vmm: "qemu", boot_id: "b", plugin_path: "/p", plugin_sha256: "s", spec: "{}", request: "{}" }
  insertRecord(db, { ...record, id: "web-12345678", name: "web" })
  db.close()
  expect(offered("rm", "w")).toEqual(["web", "web-12345678"])
  writeFileSync(join(directory.path, "state/state.db"), "junk")
  expect(offered("rm", "w")).toEqual([])
})

test.each(["bash", "zsh", "fish"])("the script of %s", (shell) => {
  const { stdout, exit } = cli("complete", shell)
  expect(exit).toBe(0)
  expect(stdout).toContain("banger complete --")
  expect(stdout).not.toMatch(/^readonly /m)
  writeFileSync(join(directory.path, "script"), stdout)
  if (Bun.which(shell) === null) return console.log(`${shell} is not here: its script is not tried`)
  const check = [shell, ...(shell === "fish" ? ["--no-execute"] : ["-n"]), join(directory.path, "script")]
  expect(Bun.spawnSync(check).exitCode).toBe(0)
})

/** Where `banger` is a program, as shells want it. */
function withProgram(): Record<string, string> {
  const bin = join(directory.path, "bin")
  mkdirSync(bin)
  writeFileSync(join(bin, "banger"), `#!/bin/sh\nexec ${PROGRAM.join(" ")} "$@"\n`, { mode: 0o755 })
  return { PATH: `${bin}:${process.env.PATH}`, HOME: directory.path, BANGER_STATE_DIR: join(directory.path, "state") }
}

/** The words of a command line up to the cursor, as bash splits them, and what is to be offered for the last. */
const TYPED: readonly [words: readonly string[], offered: string][] = [
  [["run", "--vmm", "fi"], "firecracker"],
  [["run", "--vmm", "=", "fi"], "firecracker"],
  [["run", "--vmm", "="], "auto firecracker qemu"],
  [["ru"], "run"],
  [["net", ""], "ls hosts rm check"],
  [["system", ""], "cron units install boot shutdown"],
  [["run", "pl"], "plugins/"],
  [["nonsense", ""], ""],
  [["logs", ">", "precious", "--f"], "--follow"],
  [["rm", "$(touch", "ran)", ""], ""],
  [["rm", "`touch ran`", ";", "touch", "ran", "|", "&", ""], ""],
]

test("bash offers what banger says, and obeys nothing of what is typed", () => {
  const env = withProgram()
  mkdirSync(join(directory.path, "plugins"))
  writeFileSync(join(directory.path, "precious"), "kept")
  const tries = TYPED.map(([words]) => {
    const quoted = ["banger", ...words].map((word) => `'${word}'`).join(" ")
    return `COMP_WORDS=(${quoted}) COMP_CWORD=${words.length}; _banger; echo "\${COMPREPLY[*]}"`
  })
  // compopt is for the shell that completes alone.
  const text = ["compopt() { :; }", cli("complete", "bash").stdout, ...tries].join("\n")
  const run = Bun.spawnSync(["bash", "-c", text], { env, cwd: directory.path })
  expect(run.stderr.toString()).toBe("")
  expect(run.stdout.toString().split("\n").slice(0, -1)).toEqual(TYPED.map(([, offered]) => offered))
  expect(readFileSync(join(directory.path, "precious"), "utf8")).toBe("kept")
  expect(existsSync(join(directory.path, "ran"))).toBe(false)
}, 30_000)

test("a bash at a terminal completes on tab, also without the bash-completion package", async () => {
  const env = { ...withProgram(), TERM: "dumb" }
  writeFileSync(join(directory.path, "rc"), `PS1='> '\n${cli("complete", "bash").stdout}\n`)
  const typed = "banger syst\tcr\t# whole\n: > done\n"
  const terminal = `script -qec 'bash --noprofile --rcfile rc -i' /dev/null`
  const child = Bun.spawn(["sh", "-c", terminal], { env, cwd: directory.path, stdin: "pipe", stdout: "pipe" })
  for (const key of typed) {
    child.stdin.write(key)
    await child.stdin.flush()
  }
  for (const deadline = performance.now() + 20_000; !existsSync(join(directory.path, "done")); await Bun.sleep(20))
    expect(performance.now()).toBeLessThan(deadline)
  child.stdin.end()
  child.kill()
  expect((await child.stdout.text()).replaceAll("\u0007", "")).toContain("banger system cron # whole")
}, 30_000)

test("fish offers what banger says", () => {
  if (Bun.which("fish") === null) return console.log("fish is not here: its script is not tried")
  const lines = ["banger ru", "banger net ", "banger run --vmm=fi"].map((line) => `complete -C '${line}'`)
  const run = Bun.spawnSync(["fish", "--no-config", "-c", `banger complete fish | source; ${lines.join("; ")}`], {
    env: withProgram(),
    cwd: directory.path,
  })
  const words = run.stdout.toString().trimEnd().split("\n")
  const offered = words.map((line) => line.split("\t")[0] ?? "")
  expect(offered).toEqual(["run", "check", "ls", "rm", "--vmm=firecracker"])
}, 30_000)

test("what it cannot complete is wrong usage", () => {
  expect(cli("complete")).toMatchObject({ exit: 2, stdout: "" })
  expect(cli("complete", "tcsh").stderr).toContain("there are no completions for tcsh")
})

test("topics of help", () => {
  for (const topic of ["exit-codes", "environment", "images", "completions"]) {
    expect(cli("help", topic)).toMatchObject({ stderr: "", exit: 0 })
    expect(cli("--help").stdout).toContain(topic)
  }
  expect(cli("help", "exit-code").stderr).toContain("did you mean exit-codes?")
  expect(cli("help", "constructor").exit).toBe(2)
})
