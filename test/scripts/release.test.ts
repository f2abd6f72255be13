import { expect, test } from "bun:test"
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import pkg from "../../package.json" with { type: "json" }
import { TARGETS } from "../../scripts/compile.ts"
import { fillIn } from "../../scripts/releases/installer.ts"
import { sbom } from "../../scripts/releases/sbom.ts"
import { newKey } from "../fixtures/release.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const root = join(import.meta.dir, "../..")
const key = newKey()

test("install.sh is filled in once, and only with what a quoted word can hold", () => {
  const script = readFileSync(join(root, "install.sh"), "utf8")
  const filled = fillIn(script, { releases: "https://x.example/$&", ssh: key.ssh, pem: key.pem })
  expect(filled).toContain("\ndefault_releases='https://x.example/$&'\n")
  expect(() => fillIn(filled, { releases: "", ssh: "", pem: "" })).toThrow("no empty default_releases")
  expect(() => fillIn(script, { releases: "x'; rm -rf /", ssh: "", pem: "" })).toThrow("default_releases cannot be")
})

test("the list of components has what the binary is made of, and nothing that changes from run to run", () => {
  const { packages } = Bun.JSONC.parse(readFileSync(join(root, "bun.lock"), "utf8")) as { packages: never }
  // None of ours needs another one at present; what another one needs is in the binary too.
  const sum = `sha512-${Buffer.alloc(64).toString("base64")}`
  const more = {
    outer: ["outer@1.0.0", "", { dependencies: { inner: "^2.0.0" } }, sum],
    inner: ["inner@2.1.0", "", {}, sum],
  }
  const own = { ...pkg.dependencies, outer: "1.0.0" }
  const make = () =>
    sbom({ version: "1.2.3", dependencies: own, packages: { ...(packages as object), ...more } as never }, "1.4.5")
  const { components, dependencies } = JSON.parse(make())
  const names = components.map((each: { name: string }) => each.name)
  expect(names).toEqual(expect.arrayContaining([...Object.keys(own), "inner", "bun"]))
  expect(names).not.toContain("typescript")
  expect(dependencies[0].dependsOn).toHaveLength(Object.keys(own).length + 1)
  for (const { hashes, name } of components)
    if (name !== "bun") expect(hashes[0].content, name).toMatch(/^[0-9a-f]{128}$/)
  expect(make()).toBe(make())
})

test("the programs for all targets are pinned, in the version that the scripts install", () => {
  const runtimes = JSON.parse(readFileSync(join(root, "scripts/runtimes/package.json"), "utf8")).dependencies
  const lock = readFileSync(join(root, "scripts/runtimes/bun.lock"), "utf8")
  const [, version = ""] = /^bun_version=(.*)$/m.exec(readFileSync(join(root, "scripts/setup.sh"), "utf8")) ?? []
  for (const { runtime } of Object.values(TARGETS)) {
    expect(runtimes[`@oven/${runtime}`]).toBe(version)
    expect(lock).toMatch(new RegExp(`"@oven/${runtime}@${version}".*"sha512-`))
  }
})

test("a directory with something else in it is not replaced", () => {
  const run = Bun.spawnSync([
    process.execPath,
    join(root, "scripts/release.ts"),
    "--out",
    root,
    "--own-bun",
    "linux-x64",
  ])
  expect(run.exitCode).not.toBe(0)
  expect(run.stderr.toString()).toMatch(/--out .* has .*, which is no release's/)
})

test.each([
  [["linux-x65"], "no target linux-x65"],
  [["--tag", "v999.0.0", "--own-bun", "linux-x64"], "which is not v999.0.0"],
])("%p is refused before anything is written", (args, message) => {
  mkdirSync(join(directory.path, "out"))
  const script = [process.execPath, join(root, "scripts/release.ts"), "--out", join(directory.path, "out"), ...args]
  const run = Bun.spawnSync(script)
  expect(run.exitCode).not.toBe(0)
  expect(run.stderr.toString()).toContain(message)
})
