import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import pkg from "../../../package.json" with { type: "json" }
import { newKey } from "../../fixtures/release.ts"
import { type ReleaseServer, serveReleases } from "../../fixtures/releaseServer.ts"
import { startLoopback } from "./namespace.ts"

const root = join(import.meta.dir, "../../..")

/** This version, which an update starts from, and one that it leads to. */
export const [CURRENT, NEXT] = [pkg.version, "99.0.0"]

/** Releases of real binaries, and a server of them. */
export interface Releases {
  readonly dir: string
  readonly server: ReleaseServer
  /** install.sh as the release has it. */
  readonly script: string
  readonly target: string
  dispose(): Promise<void>
}

/** Makes two releases of this tree by scripts/release.ts, for this machine's target, signed by a key of their own. */
export function makeReleases(): Releases {
  startLoopback()
  const dir = mkdtempSync("/run/banger-releases-")
  const server = serveReleases(join(dir, "releases"), CURRENT)
  const key = join(dir, "key.pem")
  writeFileSync(key, newKey().private.export({ format: "pem", type: "pkcs8" }))
  const asked = Bun.spawnSync(["sh", join(root, "install.sh"), "--dry-run"], {
    env: { ...process.env, BANGER_RELEASES: server.url },
  })
  const [, target = ""] = /banger-(linux-\S+)\.tar\.gz/.exec(asked.stderr.toString()) ?? []
  for (const version of [CURRENT, NEXT]) {
    const tree = version === CURRENT ? root : copyOf(dir, version)
    const out = join(dir, "releases/download", `v${version}`)
    const words = ["--out", out, "--releases", server.url, "--key", key, "--level", "1", "--own-bun", target]
    const made = Bun.spawnSync([process.execPath, join(tree, "scripts/release.ts"), ...words])
    if (made.exitCode !== 0) throw new Error(`no release was made: ${made.stderr}`)
  }
  return {
    dir,
    server,
    target,
    script: join(dir, "releases/download", `v${CURRENT}`, "install.sh"),
    async dispose() {
      await server[Symbol.asyncDispose]()
      rmSync(dir, { recursive: true })
    },
  }
}

// --- internal ---

/** This tree with another version in its package.json. */
function copyOf(dir: string, version: string): string {
  const tree = join(dir, "tree")
  mkdirSync(tree)
  for (const name of readdirSync(root)) {
    if (["cli.ts", "src", "scripts", "install.sh", "LICENSE", "bun.lock", "tsconfig.json"].includes(name))
      cpSync(join(root, name), join(tree, name), { recursive: true })
  }
  symlinkSync(join(root, "node_modules"), join(tree, "node_modules"))
  const manifest = { ...JSON.parse(readFileSync(join(root, "package.json"), "utf8")), version }
  writeFileSync(join(tree, "package.json"), JSON.stringify(manifest))
  // The later one keeps more of a VM, as later ones do.
  const database = join(tree, "src/store/state/database.ts")
  const [before = "", after = ""] = readFileSync(database, "utf8").split("\n]\n", 2)
  writeFileSync(database, `${before}\n  "alter table vms add column later text;",\n]\n${after}`)
  return tree
}
