import { createPublicKey, verify } from "node:crypto"
import { Failure, usageError } from "../../base/terms/failure.ts"
import { type Address, below, shownAddress } from "./address.ts"
import { downloadBytes, type Manner } from "./download.ts"

/** A release whose list of sums was signed by the project's key. */
export interface Release {
  readonly version: string
  /** Where its files are. */
  readonly place: Address
  /** The sha256 of each file, by name. */
  readonly sums: ReadonlyMap<string, string>
}

/** The list of sums and its signature are small. */
const LIST_MAX_BYTES = 1024 * 1024

/** A binary is some hundred megabytes. */
const ARCHIVE_MAX_BYTES = 1024 ** 3

/**
 * The release of a version, or the latest, once its signature was checked. The signed list says the version, so an older
 * list under another name is refused. Throws a failure.
 */
export async function findRelease(
  releases: Address,
  version: string | undefined,
  { publicKey, ...manner }: Omit<Manner, "limitBytes"> & { readonly publicKey: string },
): Promise<Release> {
  const asked = below(releases, version === undefined ? "latest/download" : `download/v${version}`)
  const small = { ...manner, limitBytes: LIST_MAX_BYTES }
  const list = await downloadBytes(below(asked, "SHA256SUMS"), small)
  const sums = parseSums(new TextDecoder().decode(list))
  // The list is not checked yet, so only a version is taken from it.
  const found = [...sums.keys()].map((name) => /^banger-(\d[\w.+-]*)\.cdx\.json$/.exec(name)?.[1]).find((each) => each)
  const where = `${shownAddress(asked)}/SHA256SUMS`
  if (found === undefined) throw notAuthentic(where, `${where} is not a list of a release's sums`)
  // By its version from here on: another release may become the latest meanwhile.
  const place = below(releases, `download/v${found}`)
  const signature = await downloadBytes(below(place, "SHA256SUMS.sig"), small)
  if (!isSigned(list, signature, publicKey)) throw notAuthentic(where, `the signature of ${where} is not the project's`)
  if (version !== undefined && version !== found)
    throw notAuthentic(where, `${shownAddress(asked)} is the release ${found}, not ${version}`)
  return { version: found, place, sums }
}

/** A release's archive for a target, once its sum was checked. Throws a failure. */
export async function downloadArchive(
  { version, place, sums }: Release,
  target: string,
  manner: Omit<Manner, "limitBytes">,
): Promise<Uint8Array<ArrayBuffer>> {
  const name = `banger-${target}.tar.gz`
  const wanted = sums.get(name)
  if (wanted === undefined) {
    const hint = "nothing was changed; build it from the source"
    throw new Failure("UNSUPPORTED", `banger ${version} has no build for ${target}`, { hint, subject: target })
  }
  const archive = await downloadBytes(below(place, name), { ...manner, limitBytes: ARCHIVE_MAX_BYTES })
  const sha256 = new Bun.CryptoHasher("sha256").update(archive).digest("hex")
  if (sha256 === wanted) return archive
  const hint = "nothing was changed; try again, in case the download was damaged"
  const message = `${name} is not what the release has: its sha256 is ${sha256}, not ${wanted}`
  throw new Failure("NOT_AUTHENTIC", message, { hint, subject: name })
}

/** A version as users give it, with or without `v`. Throws a usage failure: it becomes part of a URL. */
export function parseVersion(text: string): string {
  const version = text.replace(/^v/, "")
  if (/^\d[\w.+-]*$/.test(version)) return version
  throw usageError(`--version ${text} is not a version`, {
    hint: "give it as releases are named: 0.2.0",
    subject: "--version",
  })
}

/** Whether a version is newer than another, by semantic versioning. */
export function isNewer(version: string, than: string): boolean {
  return Bun.semver.order(version, than) > 0
}

// --- internal ---

function notAuthentic(subject: string, message: string): Failure {
  const hint = "nothing was changed; tell the project where you got it from"
  return new Failure("NOT_AUTHENTIC", message, { hint, subject })
}

/** Whether these 64 bytes are an Ed25519 signature of the content by the base64 of a raw public key. */
function isSigned(content: Uint8Array, signature: Uint8Array, publicKey: string): boolean {
  const x = Buffer.from(publicKey, "base64").toString("base64url")
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" })
  return signature.length === 64 && verify(null, content, key, signature)
}

/** Lines of `<sha256>  <name>`; anything else is left out. */
function parseSums(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(/^([0-9a-f]{64}) {2}([\w.+-]+)$/gm)].map(([, sum = "", name = ""]) => [name, sum]))
}
