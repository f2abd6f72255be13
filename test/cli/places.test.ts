import { expect, test } from "bun:test"
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { PROGRAM } from "../program.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

/** Runs banger with just this environment, as this user. */
function as(uid: number | undefined, env: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const through = uid === undefined ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"]
  const run = Bun.spawnSync([...through, ...PROGRAM, ...args], {
    env: { PATH: process.env.PATH ?? "", ...env },
    cwd: "/",
  })
  return { stdout: run.stdout.toString(), stderr: run.stderr.toString(), exit: run.exitCode }
}

const asRoot = test.skipIf(process.geteuid?.() !== 0)

test("places in the configuration are used by every command, and variables come before them", () => {
  const at = (name: string) => join(directory.path, name)
  writeFileSync(at("config.toml"), `state = "${at("st")}"\nruntime = "${at("rt")}"\n`, { mode: 0o600 })
  const env = { BANGER_CONFIG: at("config.toml"), HOME: directory.path }
  as(undefined, env, "stop", "web")
  expect(readdirSync(at("st"))).toContain("state.db")
  expect(existsSync(at("rt"))).toBe(true)
  as(undefined, { ...env, BANGER_STATE_DIR: at("other") }, "stop", "web")
  expect(readdirSync(at("other"))).toContain("state.db")
  writeFileSync(at("config.toml"), "state = 5\n", { mode: 0o600 })
  const wrong = as(undefined, env, "ps")
  expect(wrong.exit).toBe(2)
  expect(wrong.stderr).toContain("state is 5; allowed: an absolute path")
})

test("a symlink of one's own leads to the state", () => {
  mkdirSync(join(directory.path, "disk"), { mode: 0o700 })
  symlinkSync("disk", join(directory.path, "banger"))
  const env = { BANGER_STATE_DIR: join(directory.path, "banger"), BANGER_RUNTIME_DIR: join(directory.path, "rt") }
  as(undefined, env, "stop", "web")
  expect(readdirSync(join(directory.path, "disk"))).toContain("state.db")
  const { stdout } = as(undefined, env, "doctor", "--json")
  expect(JSON.parse(stdout).checks).toContainEqual(expect.objectContaining({ id: "directories", is: "ok" }))
})

asRoot(
  "a place below another user's directory: refused with nothing made, by each command, and doctor says the same",
  () => {
    const theirs = join(directory.path, "u")
    mkdirSync(theirs)
    chownSync(theirs, 1234, 1234)
    const env = { BANGER_STATE_DIR: join(theirs, "st"), BANGER_RUNTIME_DIR: join(theirs, "rt") }
    for (const words of [
      ["run", "/nonexistent.ts"],
      ["stop", "web"],
      ["rm", "-f", "web"],
      ["kill", "web"],
    ]) {
      const { exit, stderr } = as(undefined, env, ...words)
      expect({ words, exit }).toEqual({ words, exit: words[0] === "run" ? 2 : 1 })
      if (words[0] !== "run") expect(stderr).toContain(`${theirs} belongs to uid 1234`)
    }
    expect(readdirSync(theirs)).toEqual([])
    const { stdout } = as(undefined, env, "doctor", "--json")
    const found = JSON.parse(stdout).checks.find(({ id }: { id: string }) => id === "directories")
    expect(found).toMatchObject({ is: "fail", says: expect.stringContaining(theirs) })
    Bun.spawnSync(["sh", "-c", found.hint.split(";")[0]])
    expect(as(undefined, env, "stop", "web").stderr).toContain("no VM")
  },
)

asRoot.each<[string, () => Readonly<Record<string, string>>, string]>([
  ["HOME=/", () => ({ HOME: "/" }), "BANGER_STATE_DIR=/DIR"],
  ["no HOME", () => ({}), "BANGER_STATE_DIR=/DIR"],
  ["a HOME that is not there", () => ({ HOME: "/nonexistent/home" }), "BANGER_STATE_DIR=/DIR"],
  [
    "another user's runtime directory",
    () => ({ BANGER_STATE_DIR: join(directory.path, "mine"), XDG_RUNTIME_DIR: join(directory.path, "theirs") }),
    "unset XDG_RUNTIME_DIR",
  ],
])("with %s a user's ps is empty, and what needs the directory says what to set", (_, env, hint) => {
  chmodSync(directory.path, 0o755)
  for (const [name, uid] of [
    ["mine", 4242],
    ["theirs", 1234],
  ] as const) {
    mkdirSync(join(directory.path, name), { mode: 0o700 })
    chownSync(join(directory.path, name), uid, uid)
  }
  expect(as(4242, env(), "ps", "--json")).toMatchObject({ exit: 0, stdout: "[]\n" })
  const stopped = as(4242, env(), "stop", "web")
  expect(stopped.stderr).toContain(hint)
  expect(stopped.stderr).not.toContain("banger/src")
})
