import { expect, test } from "bun:test"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { openDatabase } from "../../src/state/database.ts"
import { insertRecord } from "../../src/state/records.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const cliPath = join(import.meta.dir, "../../cli.ts")

function cli(...args: string[]) {
  const env = {
    PATH: process.env.PATH,
    BANGER_STATE_DIR: join(directory.path, "state"),
    BANGER_RUNTIME_DIR: join(directory.path, "run"),
  }
  const run = Bun.spawnSync([process.execPath, cliPath, ...args], { env, cwd: directory.path })
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

test("bash asks banger, and offers what it says", () => {
  const { stdout } = cli("complete", "bash")
  mkdirSync(join(directory.path, "bin"))
  writeFileSync(join(directory.path, "bin/banger"), `#!/bin/sh\nexec ${process.execPath} ${cliPath} "$@"\n`, {
    mode: 0o755,
  })
  // What the bash-completion package has, as far as the script needs it.
  const library = `_get_comp_words_by_ref() { cur=\${COMP_WORDS[COMP_CWORD]} words=("\${COMP_WORDS[@]}") cword=$COMP_CWORD; }\ncompopt() { :; }\n`
  const ask = `COMP_WORDS=(banger run --vmm fi) COMP_CWORD=3; __banger_complete; echo "\${COMPREPLY[@]}"`
  const run = Bun.spawnSync(["bash", "-c", `${library}${stdout}\n${stdout}\n${ask}`], {
    env: { PATH: `${join(directory.path, "bin")}:${process.env.PATH}`, HOME: directory.path },
  })
  expect({ out: run.stdout.toString().trim(), err: run.stderr.toString() }).toEqual({ out: "firecracker", err: "" })
})

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
