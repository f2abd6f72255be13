import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const load = new URL("../../../src/inputs/plugin/load.ts", import.meta.url).href

/** Loads a plugin in a process of its own, as banger does; then again, with this text in the file. */
async function loadTwice(second: string): Promise<string> {
  const plugin = join(directory.path, "plugin.ts")
  writeFileSync(plugin, 'export default { kernel: "first" }\n')
  const script = join(directory.path, "load.ts")
  writeFileSync(
    script,
    `import { writeFileSync } from "node:fs"
const { loadPlugin } = await import(${JSON.stringify(load)})
const trust = { uids: undefined }
const loading = { beforeCode() {} }
await loadPlugin(${JSON.stringify(plugin)}, trust, loading)
writeFileSync(${JSON.stringify(plugin)}, ${JSON.stringify(second)})
console.log(await loadPlugin(${JSON.stringify(plugin)}, trust, loading).then(({ spec }) => spec.kernel, ({ message }) => message))`,
  )
  const child = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit" })
  return (await child.stdout.text()).trim()
}

test("a plugin is loaded again while it is the same file, and refused when it has changed: what ran first would run", async () => {
  expect(await loadTwice('export default { kernel: "first" }\n')).toBe("first")
  expect(await loadTwice('export default { kernel: "other" }\n')).toContain("has changed since it was loaded")
})

/** What a process says that loads this plugin: each time before code of it could run, and in the end. */
async function loadOnce(text: string): Promise<string> {
  const plugin = join(directory.path, "plugin.ts")
  writeFileSync(plugin, text)
  writeFileSync(join(directory.path, "name.ts"), 'export function name() { return "k" }\n')
  const script = join(directory.path, "load.ts")
  writeFileSync(
    script,
    `const { loadPlugin } = await import(${JSON.stringify(load)})
const loading = { beforeCode: () => console.log("code") }
console.log((await loadPlugin(${JSON.stringify(plugin)}, { uids: undefined }, loading)).spec.kernel)`,
  )
  const child = Bun.spawn([process.execPath, script], { cwd: "/", stdout: "pipe", stderr: "inherit" })
  return child.stdout.text()
}

test.each([
  ['import { name } from "./name.ts"\nexport { name }\nexport default { kernel: "k" }', "k\n"],
  ['console.log("ran")\nexport default { kernel: "k" }', "code\nran\nk\n"],
  // Bun runs a macro while it reads a module, and hands nobody the text that an import's own name is.
  ['import { name } from "./name.ts" with { type: "macro" }\nexport default { kernel: name() }', "code\nk\n"],
  ['import x from "data:text/javascript,export default 1"\nexport { x }\nexport default { kernel: "k" }', "code\nk\n"],
])("before code of a plugin could run, it is said: %s", async (text, said) => {
  expect(await loadOnce(text)).toBe(said)
})
