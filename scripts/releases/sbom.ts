/** A package of bun.lock: its name and version, its registry, its own metadata, its sum. */
type Locked = readonly [spec: string, registry: string, about: { dependencies?: Record<string, string> }, sum: string]

/** What `sbom` needs of a lock file and of package.json. */
export interface Manifest {
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly packages: Readonly<Record<string, Locked>>
}

/**
 * What a release's binaries are made of, as CycloneDX 1.6: banger, the packages that banger depends on, each with its sum,
 * and Bun. The text has no time and no random number: the same inputs give the same bytes. Pure.
 */
export function sbom({ version, dependencies, packages }: Manifest, bunVersion: string): string {
  const names = closure(Object.keys(dependencies), packages)
  const bun = {
    type: "framework",
    "bom-ref": `pkg:npm/bun@${bunVersion}`,
    name: "bun",
    version: bunVersion,
    purl: `pkg:npm/bun@${bunVersion}`,
  }
  const bom = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: { component: { type: "application", "bom-ref": "banger", name: "banger", version } },
    components: [...names.map((name) => component(lockedOf(name, packages))), bun],
    dependencies: [
      {
        ref: "banger",
        dependsOn: [
          ...Object.keys(dependencies)
            .sort()
            .map((name) => refOf(name, packages)),
          bun.purl,
        ],
      },
      ...names.map((name) => ({
        ref: refOf(name, packages),
        dependsOn: Object.keys(lockedOf(name, packages)[2].dependencies ?? {}).map((each) => refOf(each, packages)),
      })),
    ],
  }
  return `${JSON.stringify(bom, null, 2)}\n`
}

// --- internal ---

function closure(roots: readonly string[], packages: Manifest["packages"]): readonly string[] {
  const found = new Set<string>()
  const visit = (name: string) => {
    if (found.has(name)) return
    found.add(name)
    for (const next of Object.keys(lockedOf(name, packages)[2].dependencies ?? {})) visit(next)
  }
  for (const name of roots) visit(name)
  return [...found].sort()
}

function lockedOf(name: string, packages: Manifest["packages"]): Locked {
  const locked = packages[name]
  if (locked === undefined) throw new Error(`bun.lock has no ${name}`)
  return locked
}

function component([spec, , , sum]: Locked): object {
  const [name, version] = nameAndVersion(spec)
  return {
    type: "library",
    "bom-ref": purl(spec),
    name,
    version,
    hashes: [{ alg: "SHA-512", content: Buffer.from(sum.replace(/^sha512-/, ""), "base64").toString("hex") }],
    purl: purl(spec),
  }
}

function refOf(name: string, packages: Manifest["packages"]): string {
  return purl(lockedOf(name, packages)[0])
}

function purl(spec: string): string {
  const [name, version] = nameAndVersion(spec)
  return `pkg:npm/${name.replace(/^@/, "%40")}@${version}`
}

function nameAndVersion(spec: string): readonly [string, string] {
  const at = spec.lastIndexOf("@")
  return [spec.slice(0, at), spec.slice(at + 1)]
}
