import { expect, test } from "bun:test"
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger } from "./support/banger.ts"
import { eachInItsPlace, type Place } from "./support/place.ts"

const place = eachInItsPlace()

/** A plugin in a directory of its own, with a module it imports. */
function writePlugin(place: Place): { dir: string; file: string; module: string } {
  const dir = join(place.dir, "plugins")
  mkdirSync(dir)
  writeFileSync(join(dir, "kernel"), "x")
  writeFileSync(join(dir, "module.ts"), 'export const kernel: string = "kernel"\n')
  writeFileSync(
    join(dir, "plugin.ts"),
    `import { kernel } from "./module.ts"\nexport default { kernel, vmm: "qemu", accel: "tcg" }\n`,
  )
  return { dir, file: join(dir, "plugin.ts"), module: join(dir, "module.ts") }
}

test("root runs a plugin that only root can write, also by a symlink", async () => {
  const { file } = writePlugin(place)
  symlinkSync(file, join(place.dir, "link.ts"))
  expect(await banger(place, ["run", "--plan", join(place.dir, "link.ts")])).toMatchObject({ stderr: "", exit: 0 })
})

test.each([
  [
    "a file that its group can write",
    (p: Paths) => chmodSync(p.file, 0o664),
    (p: Paths) => `${p.file} can be written by others`,
  ],
  ["a file of another user", (p: Paths) => chownSync(p.file, 12345, 0), (p: Paths) => `${p.file} belongs to uid 12345`],
  [
    "a directory that all can write",
    (p: Paths) => chmodSync(p.dir, 0o777),
    (p: Paths) => `${p.dir} can be written by others`,
  ],
  [
    "a directory of another user",
    (p: Paths) => chownSync(p.dir, 12345, 0),
    (p: Paths) => `${p.dir} belongs to uid 12345`,
  ],
  [
    "an imported file that all can write",
    (p: Paths) => chmodSync(p.module, 0o666),
    (p: Paths) => `${p.module} can be written by others`,
  ],
] as const)("root refuses %s, by its name", async (_, spoil, message) => {
  const paths = writePlugin(place)
  spoil(paths)
  const { stderr, stdout, exit } = await banger(place, ["run", "--plan", paths.file])
  expect(stderr).toContain(message(paths))
  expect(stdout).toBe("")
  expect(exit).toBe(1)
})

test("the user who called sudo may own the plugin", async () => {
  const { file } = writePlugin(place)
  chownSync(file, 12345, 0)
  const { exit } = await banger(place, ["run", "--plan", file], { SUDO_UID: "12345" })
  expect(exit).toBe(0)
})

test.each(["fifo", "directory", "device"])("a %s as plugin is refused without waiting for it", async (kind) => {
  const path = join(place.dir, "plugin.ts")
  if (kind === "directory") mkdirSync(path)
  else Bun.spawnSync(["mknod", path, ...(kind === "fifo" ? ["p"] : ["c", "1", "5"])])
  const { stderr, exit } = await banger(place, ["run", path])
  expect(stderr).toContain("is not a regular file")
  expect(exit).toBe(2)
})

test("the binary runs and reads nothing that lies in the directory it is called from", async () => {
  const { file } = writePlugin(place)
  const proof = join(place.dir, "proof")
  writeFileSync(join(place.dir, "evil.ts"), `require("node:fs").writeFileSync(${JSON.stringify(proof)}, "ran")\n`)
  writeFileSync(join(place.dir, "bunfig.toml"), 'preload = ["./evil.ts"]\n')
  writeFileSync(join(place.dir, ".env"), "BANGER_STATE_DIR=/nonexistent/from-env-file\n")
  writeFileSync(join(place.dir, "package.json"), '{ "imports": { "banger": "./evil.ts" } }\n')
  writeFileSync(join(place.dir, "tsconfig.json"), '{ "compilerOptions": { "paths": { "banger": ["./evil.ts"] } } }\n')
  const opened = join(place.dir, "strace")
  const dist = join(import.meta.dir, "../../dist/banger")
  const traced = ["strace", "-f", "-e", "trace=open,openat,openat2", "-o", opened, dist, "run", "--plan", file]
  expect(Bun.spawnSync(traced, { cwd: place.dir }).exitCode).toBe(0)
  expect(existsSync(proof)).toBe(false)
  const names = readFileSync(opened, "utf8")
  expect(names).toContain("plugin.ts")
  for (const name of ["bunfig.toml", ".env", "evil.ts", `${place.dir}/tsconfig.json`, `${place.dir}/package.json`]) {
    expect(names).not.toContain(name)
  }
})

type Paths = ReturnType<typeof writePlugin>
