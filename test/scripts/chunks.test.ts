import { expect, test } from "bun:test"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { addedImports, type Sources } from "../../scripts/chunks.ts"

/** Modules by what they import; `*name` is imported lazily. */
function sources(modules: Readonly<Record<string, readonly string[]>>): Sources {
  const imports = (names: readonly string[]) =>
    names.map((name) =>
      name.startsWith("*")
        ? { path: "./chunk.js", kind: "dynamic-import" as const, entryPoint: name.slice(1) }
        : { path: name, kind: "import-statement" as const },
    )
  return {
    inputs: Object.fromEntries(
      Object.entries(modules).map(([name, names]) => [name, { bytes: 1, imports: imports(names) }]),
    ),
  }
}

test("who loads a module of a boot loads all of them, in the order in which they run; what is light is left alone", () => {
  const all = sources({
    cli: ["base", "*run", "*ps", "*stop", "*help"],
    run: ["boot", "base", "node:fs"],
    boot: ["jail", "journal"],
    jail: ["base"],
    journal: ["base", "jail"],
    ps: ["base"],
    stop: ["journal"],
    help: [],
    base: [],
  })
  expect(Object.fromEntries(addedImports(all, { boot: "run", light: ["cli", "ps"] }))).toEqual({
    run: ["jail", "journal", "boot", "run"],
    stop: ["jail", "journal", "boot", "run"],
  })
})

test("modules that import one another in a circle are each told once", () => {
  const all = sources({ cli: ["*run"], run: ["a"], a: ["b"], b: ["a"] })
  expect(addedImports(all, { boot: "run", light: [] }).get("run")).toEqual(["b", "a", "run"])
})

test("the modules that the build names are there", () => {
  const root = join(import.meta.dir, "../..")
  const text = readFileSync(join(root, "scripts/compile.ts"), "utf8")
  const named = [...text.matchAll(/"((?:src\/|cli)[^"]*\.ts)"/g)].map(([, path = ""]) => path)
  expect(named.length).toBeGreaterThan(6)
  for (const path of named) expect({ path, there: existsSync(join(root, path)) }).toEqual({ path, there: true })
})
