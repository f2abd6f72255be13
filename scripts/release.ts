import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import pkg from "../package.json" with { type: "json" }
import { commit, compile, isTarget, root, TARGETS, type Target } from "./compile.ts"
import { fillIn } from "./releases/installer.ts"
import { addToMirror } from "./releases/mirror.ts"
import { fetchRuntimes, runtimeOf } from "./releases/runtimes.ts"
import { sbom } from "./releases/sbom.ts"
import { readKey, type SigningKey, signRaw, signSsh } from "./releases/sign.ts"

const USAGE = `usage: scripts/release [TARGET…]

Writes a release: an archive for each target (all unless some are named), install.sh, a list of components (CycloneDX),
SHA256SUMS, and its signatures. The same commit gives the same bytes.
Targets: ${Object.keys(TARGETS).join(", ")}

  --out DIR        where to write (default: dist/release); replaces what is there
  --releases URL   the page where releases will be: what install.sh and banger update download from
  --key FILE       the Ed25519 key to sign with (PEM; or in the environment, as BANGER_RELEASE_KEY)
  --mirror DIR     add the release to this directory as well, laid out as install.sh and banger update look for it: serve DIR by
                   any web server, and name its URL, or file:///DIR, in BANGER_RELEASES
  --tag TAG        fail unless TAG is the version's tag and everything is committed
  --level N        how hard gzip tries, 1 or 9 (default: 9)
  --own-bun        build with the Bun that runs this, not the pinned one: only for trials and this machine's target`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string", default: join(root, "dist/release") },
    releases: { type: "string", default: "" },
    key: { type: "string" },
    mirror: { type: "string" },
    tag: { type: "string" },
    level: { type: "string", default: "9" },
    "own-bun": { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
})
const unknown = positionals.find((name) => !isTarget(name))
if (values.help || unknown !== undefined) {
  console.error(unknown === undefined ? USAGE : `no target ${unknown}\n${USAGE}`)
  process.exit(unknown === undefined ? 0 : 2)
}
if (values.tag !== undefined) requireTag(values.tag)

const key = signingKey(values.key)
const out = resolve(values.out)
const work = join(out, ".work")
requireReplaceable(out)
rmSync(out, { recursive: true, force: true })
mkdirSync(work, { recursive: true })
const asked = positionals.filter(isTarget)
const targets = asked.length === 0 ? Object.keys(TARGETS).filter(isTarget) : asked
if (!values["own-bun"]) fetchRuntimes()
const assets = new Map<string, Uint8Array>()
for (const target of targets) assets.set(`banger-${target}.tar.gz`, await archive(target))
assets.set("install.sh", installer())
assets.set(`banger-${pkg.version}.cdx.json`, Buffer.from(components()))
write(assets)
rmSync(work, { recursive: true })
if (values.mirror !== undefined) {
  addToMirror(out, resolve(values.mirror), pkg.version)
  console.log(`${resolve(values.mirror)} has it too: BANGER_RELEASES=${Bun.pathToFileURL(resolve(values.mirror)).href}`)
}

/** One target's archive, without what tar and gzip note of this machine and the time: one commit gives the same bytes. */
async function archive(target: Target): Promise<Uint8Array> {
  const started = performance.now()
  const dir = join(work, target)
  mkdirSync(dir)
  const outfile = join(dir, "banger")
  const runtime = values["own-bun"] ? process.execPath : runtimeOf(target)
  const publicKey = key === undefined ? "" : Buffer.from(key.raw).toString("base64")
  await compile({ outfile, target, runtime, releases: values.releases, publicKey })
  chmodSync(outfile, 0o755)
  cpSync(join(root, "LICENSE"), join(dir, "LICENSE"))
  chmodSync(join(dir, "LICENSE"), 0o644)
  const plain = ["--format=ustar", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
  const tar = Bun.spawnSync(["tar", "-C", dir, ...plain, "-c", "LICENSE", "banger"], { stderr: "inherit" })
  if (!tar.success) throw new Error("tar failed")
  const packed = Bun.gzipSync(new Uint8Array(tar.stdout), { level: gzipLevel(values.level) })
  rmSync(dir, { recursive: true })
  console.log(`${target}: ${(packed.length / 2 ** 20).toFixed(1)} MiB in ${seconds(started)} s`)
  return packed
}

function installer(): Uint8Array {
  const script = readFileSync(join(root, "install.sh"), "utf8")
  return Buffer.from(fillIn(script, { releases: values.releases, ssh: key?.ssh ?? "", pem: key?.pem ?? "" }))
}

function components(): string {
  const { packages } = Bun.JSONC.parse(readFileSync(join(root, "bun.lock"), "utf8")) as { packages: never }
  return sbom({ version: pkg.version, dependencies: pkg.dependencies, packages }, Bun.version)
}

function write(assets: ReadonlyMap<string, Uint8Array>): void {
  const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex")
  for (const [name, bytes] of assets) writeFileSync(join(out, name), bytes)
  const sums = [...assets].map(([name, bytes]) => `${sha256(bytes)}  ${name}\n`).join("")
  writeFileSync(join(out, "SHA256SUMS"), sums)
  if (key === undefined) {
    console.log(`${out}: banger ${pkg.version} (${commit()}), not signed`)
    return
  }
  writeFileSync(join(out, "SHA256SUMS.sig"), signRaw(Buffer.from(sums), key))
  writeFileSync(join(out, "SHA256SUMS.sshsig"), signSsh(Buffer.from(sums), key))
  console.log(`${out}: banger ${pkg.version} (${commit()}), signed by ssh-ed25519 ${key.ssh}`)
}

/** Throws when `path` has anything but an earlier release: a release replaces the whole directory. */
function requireReplaceable(path: string): void {
  const names = existsSync(path) ? readdirSync(path) : []
  const other = names.find((name) => !/^(?:banger-.*|install\.sh|SHA256SUMS(?:\..*)?|\.work)$/.test(name))
  if (other !== undefined) throw new Error(`--out ${path} has ${other}, which is no release's: name an empty directory`)
}

function signingKey(path: string | undefined): SigningKey | undefined {
  const pem = path === undefined ? process.env.BANGER_RELEASE_KEY : readFileSync(path, "utf8")
  return pem === undefined || pem === "" ? undefined : readKey(pem)
}

function requireTag(tag: string): void {
  if (tag !== `v${pkg.version}`) throw new Error(`package.json has the version ${pkg.version}, which is not ${tag}`)
  if (!/^[0-9a-f]{12}$/.test(commit())) throw new Error(`commit everything before a release: this is ${commit()}`)
}

function gzipLevel(text: string): 1 | 9 {
  if (text === "1" || text === "9") return text === "1" ? 1 : 9
  throw new Error(`--level ${text}: it is 1 or 9`)
}

function seconds(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(1)
}
