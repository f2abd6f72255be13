import { readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { decompress } from "../../src/inputs/kernel/decompress.ts"
import { dependenciesOf, moduleName } from "./modinfo.ts"

/** One module as the guest needs it: unpacked, at its place in the load order. */
export type KernelModule = { name: string; data: Uint8Array }

/** Where modules come from; `read` is called only for wanted modules. */
export type ModuleSource = { builtIn: ReadonlySet<string>; read: (name: string) => Uint8Array | undefined }

/** Reads one kernel's tree, as packages install it under `lib/modules/<release>`. */
export function openModuleTree(directory: string): ModuleSource {
  const builtIn = readFileSync(join(directory, "modules.builtin"), "utf8").split("\n").filter(Boolean).map(nameOfFile)
  const files = new Map<string, string>()
  for (const path of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    if (/\.ko(\.\w+)?$/.test(path)) files.set(nameOfFile(path), join(directory, path))
  }
  return {
    builtIn: new Set(builtIn),
    read: (name) => {
      const path = files.get(name)
      return path === undefined ? undefined : decompress(new Uint8Array(readFileSync(path)))
    },
  }
}

/** The wanted modules and all that they depend on, each after its dependencies, without what is built in or `loaded`. */
export function loadOrder(source: ModuleSource, wanted: readonly string[], loaded = new Set<string>()): KernelModule[] {
  const ordered = new Map<string, KernelModule>()

  const add = (name: string, neededBy: readonly string[]) => {
    if (source.builtIn.has(name) || loaded.has(name) || ordered.has(name)) return
    if (neededBy.includes(name))
      throw new Error(`kernel modules depend on each other: ${[...neededBy, name].join(" → ")}`)
    const data = source.read(name)
    if (!data) throw new Error(missing(name, neededBy))
    for (const dependency of dependenciesOf(data)) add(dependency, [...neededBy, name])
    ordered.set(name, { name, data })
  }

  for (const name of wanted) add(moduleName(name), [])
  return [...ordered.values()]
}

// --- internal ---

function nameOfFile(path: string): string {
  return moduleName(basename(path).replace(/\.ko(\.\w+)?$/, ""))
}

function missing(name: string, neededBy: readonly string[]): string {
  const reason = neededBy.length > 0 ? `, which ${neededBy.at(-1)} depends on,` : ""
  return `the kernel module ${name}${reason} is neither built into this kernel nor in its package; choose another kernel package`
}
