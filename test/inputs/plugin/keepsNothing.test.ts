import { expect, test } from "bun:test"
import { keepsNothing } from "../../../src/inputs/plugin/keepsNothing.ts"
import starter from "../../../src/inputs/starter/starter.template.txt" with { type: "text" }

const transpile = (text: string) => new Bun.Transpiler({ loader: "ts", target: "bun" }).transformSync(text)
const keeps = (text: string) => !keepsNothing(transpile(`import { definePlugin } from "banger"\n${text}`))
const plugin = (more = "") => `export default definePlugin({ kernel: "vmlinuz", ${more} })`

test("the first plugins that a user writes keep nothing", async () => {
  for (const file of ["hello.ts"])
    expect(keepsNothing(transpile(await Bun.file(`${import.meta.dir}/../../../plugins/${file}`).text())), file).toBe(
      true,
    )
  expect(keepsNothing(transpile(starter))).toBe(true)
})

test.each([
  plugin(),
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of a module
  plugin("async preBoot(ctx) { let tries = 0; tries++; await ctx.stage.write(`a${tries}\n};let x`, 'x') }"),
  plugin("postBoot: (ctx) => { const seen = new Map(); seen.set(1, ctx.vm.pid) }"),
  `const PORT = 8080, NAME = "x\`"\nexport const where = import.meta.dir\n${plugin("preBoot(ctx) { ctx.log.info(NAME) }")}`,
  `import { join } from "node:path"\nasync function build(ctx) { return join("a", "b") }\n${plugin("preBoot: build, postStop: build")}`,
  `import other from "./other.ts"\n${plugin("use: [other], drives: [{ path: 'a', readonly: true }]")}`,
  `export default { kernel: "vmlinuz", postBoot(ctx) {} }`,
  plugin(
    "configure(_spec, ctx) { const [, kernel = '', fields = '{}'] = ctx.args; const { a, b: c = 1 } = JSON.parse(fields); return { kernel } }",
  ),
  plugin("preBoot(ctx) { ctx.log.info(process.env.HOME ?? '') }"),
])("keeps nothing: %s", (text) => expect(keeps(text)).toBe(false))

test.each([
  `let state = 1\n${plugin()}`,
  `var state = 1\n${plugin()}`,
  `const seen = new Map()\n${plugin()}`,
  `const seen = []\n${plugin()}`,
  `const seen = {}\n${plugin()}`,
  `const count = (() => { let n = 0; return () => n++ })()\n${plugin()}`,
  `const hook = counted\n${plugin()}`,
  `class K { static n = 0 }\n${plugin()}`,
  `enum E { A }\n${plugin()}`,
  `function f() {}\n${plugin("preBoot() { f.count = 1 }")}`,
  `function f() {}\n${plugin("preBoot() { f['count'] = 1 }")}`,
  `function f() { return { preBoot() {} } }\n${plugin("...f()")}`,
  `function f() { let n = 0; return () => n++ }\n${plugin("preBoot: f()")}`,
  plugin("preBoot() { this.at = 1 }"),
  plugin("preBoot() { globalThis.at = 1 }"),
  plugin("preBoot() { process.env.AT = '1' }"),
  plugin("preBoot() { process.env['AT'] = '1' }"),
  plugin("preBoot() { process.env.AT ??= '1' }"),
  plugin("preBoot() { Bun.env.AT = '1' }"),
  plugin("preBoot() { const p = process; p.env.AT = '1' }"),
  plugin("preBoot() { Math.at = 1 }"),
  plugin("preBoot(ctx) { const [a] = ctx.args; [ctx.vm.at] = ctx.args }"),
  plugin("preBoot(ctx) { const [a] = ctx.args; ctx.vm[ctx.args[0]] = a }"),
  plugin("preBoot(ctx) { ctx.vm.at ??= 1 }"),
  plugin("preBoot(ctx) { ctx.vm['at']++ }"),
  plugin("preBoot() { import.meta.at = 1 }"),
  plugin("preBoot() { process.on('SIGTERM', () => {}) }"),
  plugin("preBoot() { process.chdir('/') }"),
  plugin("preBoot() { console.time('run') }, postStop() { console.timeEnd('run') }"),
  plugin("preBoot() { performance.mark('begin') }"),
  `import { dlopen } from "bun:ffi"\n${plugin("preBoot() { dlopen('libc.so.6', {}) }")}`,
  `import dns from "node:dns"\n${plugin("preBoot() { dns.setServers(['10.0.0.1']) }")}`,
  plugin("postBoot() { setInterval(() => {}, 1000).unref() }"),
  plugin("async preBoot() { const { state } = await import('./state.ts') }"),
  plugin("preBoot() { require('./state.ts').at = 1 }"),
  plugin("preBoot() { return /`/.test('') }\n}); let state = 1; ({"),
  plugin("get kernel() { return '' }"),
  plugin("use: [counter()]"),
  `export default makePlugin()`,
  `export default { ...makePlugin() }`,
  `await 1\n${plugin()}`,
  `const { a } = { a: 1 }\n${plugin()}`,
  `if (true) { globalThis.x = 1 }\n${plugin()}`,
  `const a = \`\${"b"}\`, c = []\n${plugin()}`,
  `export { state } from "./state.ts"\nstate = 1\n${plugin()}`,
])("may keep something: %s", (text) => expect(keeps(text)).toBe(true))

const f = "function f() { while (true); }"
test.each([
  `${f}\nexport default { kernel: -{ valueOf: f } }`,
  `${f}\nexport default { kernel: '' + { toString: f } }`,
  `${f}\nexport default { kernel: '' + { ['to' + 'String']: f } }`,
  `${f}\nexport default { kernel: [...{ [Symbol.iterator]: f }] }`,
  `${f}\nexport default { kernel: await { then: f } }`,
  `${f}\nexport default { kernel: f\`\` }`,
  "export default { toString() { while (true); } }",
  "export function toString() { while (true); }",
])("code may run while it is loaded: %s", (text) => expect(keeps(text)).toBe(true))

test("only banger's own definePlugin is known to do nothing", () => {
  const from = (words: string) => keepsNothing(transpile(`${words}\n${plugin()}`))
  expect(from('import { definePlugin } from "banger"')).toBe(true)
  expect(from('import { definePlugin, type Ctx } from "banger"')).toBe(true)
  expect(from('import { definePlugin } from "./other.ts"')).toBe(false)
  expect(from('import { other as definePlugin } from "banger"')).toBe(false)
  expect(from('import { definePlugin as other } from "banger"')).toBe(false)
  expect(from("function definePlugin(plugin) { while (true); }")).toBe(false)
  expect(from("")).toBe(false)
})
