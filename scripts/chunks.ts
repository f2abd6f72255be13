import { dirname, join, relative } from "node:path"

/** What a build has made of the sources. */
export type Sources = Pick<Bun.BuildMetafile, "inputs">

/** The module whose imports a boot loads, and those that are to load as little as may be. */
export interface Together {
  readonly boot: string
  readonly light: readonly string[]
}

/**
 * Has a build put all that a boot loads, and nothing light does, into one chunk. Bun makes a chunk of the modules that the same
 * entry points load; a boot would load eighty, which takes a millisecond more. So each entry point that loads one of those
 * modules is made to import all of them, in the order in which they run anyway.
 */
export function inOneChunk(root: string, sources: Sources, together: Together): Bun.BunPlugin {
  const added = addedImports(sources, together)
  return {
    name: "one chunk",
    setup(build) {
      build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        const modules = added.get(relative(root, path))
        if (modules === undefined) return undefined
        // On the first line, so that all lines keep their numbers.
        const others = modules.filter((name) => join(root, name) !== path)
        const imports = others.map((name) => `import ${JSON.stringify(specifier(path, join(root, name)))};`)
        return { loader: "ts", contents: `${imports.join("")}${await Bun.file(path).text()}` }
      })
    },
  }
}

/** For each entry point the modules that it is to import as well. Pure. */
export function addedImports(sources: Sources, { boot, light }: Together): ReadonlyMap<string, readonly string[]> {
  const spared = new Set(light.flatMap((name) => [...loadedBy(sources, name)]))
  const modules = [...loadedBy(sources, boot)].filter((name) => !spared.has(name))
  const entries = Object.values(sources.inputs).flatMap(({ imports }) =>
    imports.flatMap(({ kind, entryPoint }) =>
      kind === "dynamic-import" && entryPoint !== undefined ? [entryPoint] : [],
    ),
  )
  const loads = (entry: string) => {
    const loaded = loadedBy(sources, entry)
    return modules.some((name) => loaded.has(name))
  }
  return new Map([...new Set(entries)].filter(loads).map((entry) => [entry, modules]))
}

// --- internal ---

/** A module and all that it imports, each behind what it imports itself: in the order in which they run. */
function loadedBy({ inputs }: Sources, name: string): ReadonlySet<string> {
  const [loaded, begun] = [new Set<string>(), new Set<string>()]
  const load = (module: string) => {
    if (begun.has(module) || inputs[module] === undefined) return
    begun.add(module)
    for (const { kind, path } of inputs[module].imports) if (kind === "import-statement") load(path)
    loaded.add(module)
  }
  load(name)
  return loaded
}

function specifier(from: string, to: string): string {
  const path = relative(dirname(from), to)
  return path.startsWith(".") ? path : `./${path}`
}
