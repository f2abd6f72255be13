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
