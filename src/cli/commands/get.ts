import { usageError } from "../../base/terms/failure.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { type Address, below, parseAddress } from "../../inputs/download/address.ts"
import { stallLimitMs } from "../../inputs/download/download.ts"
import { catalog, exactName, findItem, shortNames } from "../../inputs/image/catalog.ts"
import { getImage, type Wanted } from "../../inputs/image/getImage.ts"
import { imagePath, listImages, removeImage } from "../../inputs/image/store.ts"
import { ownPlaces } from "../../store/state/open.ts"
import type { ImageFile, ImageList } from "../show/documents.ts"
import { command } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"
import { startProgress } from "../terminal/progress.ts"

/** No image is larger than this, in bytes. */
const DOWNLOAD_MAX_BYTES = 64 * 1024 ** 3

const ls = command({
  meta: { name: "ls", description: "List the images that are known, and those that are here" },
  args: {},
  run(_values, { output }) {
    list(output)
    return undefined
  },
})

const path = command({
  meta: { name: "path", description: "Print where an image is" },
  args: { name: { type: "positional", required: true, description: "The image" } },
  run({ name }, { output }) {
    const path = imagePath(ownPlaces(), name)
    output.show({ name: exactName(name), path } satisfies ImageFile, path)
    return undefined
  },
})

const rm = command({
  meta: { name: "rm", description: "Remove an image" },
  args: { name: { type: "positional", required: true, description: "The image" } },
  run({ name }, { output }) {
    const path = removeImage(ownPlaces(), name)
    output.log.info(`removed ${path}`)
    output.show({ name: exactName(name), path } satisfies ImageFile, "")
    return undefined
  },
})

export default command({
  meta: { name: "get", description: "Get Firecracker, a guest kernel or a root file system" },
  args: {
    what: { type: "positional", required: true, description: "What to get, by its name" },
    from: { type: "string", valueHint: "URL|FILE", description: "Get it from here instead; also an image of your own" },
    sha256: { type: "string", valueHint: "HEX", description: "The sum of an image of your own" },
  },
  subCommands: { ls, path, rm },
  async run({ what, ...values }, { output }) {
    const wanted = wantedOf(what, values.from, values.sha256?.toLowerCase())
    const progress = startProgress(wanted.name, output.manner)
    const manner = { limitBytes: DOWNLOAD_MAX_BYTES, stallMs: stallLimitMs(), onProgress: progress.update }
    const got = await getImage(ownPlaces(), wanted, manner).finally(progress.end)
    output.log.info(got.new ? `got ${wanted.name}` : `${wanted.name} is here already`)
    output.show({ name: wanted.name, ...got } satisfies ImageFile, got.path)
    return undefined
  },
})

// --- internal ---

function list(output: Output): void {
  const images = listImages(ownPlaces())
  const known = catalog().filter(({ name }) => !images.some((image) => image.name === name))
  const rows: ImageList = [
    ...images.map(({ name, path, bytes }) => ({ name, here: true, sizeBytes: bytes, path })),
    ...known.map(({ name }) => ({ name, here: false, sizeBytes: null, path: null })),
  ].map((row) => ({
    ...row,
    also: shortNames(row.name),
    about: catalog().find(({ name }) => name === row.name)?.about ?? null,
  }))
  const width = Math.max(...rows.map(({ name }) => name.length))
  const lines = rows.map(({ name, sizeBytes, path, about, also }) => {
    const state = sizeBytes === null ? "not here" : formatSize(sizeBytes)
    const names = also.length === 0 ? "" : ` (also: ${also.join(", ")})`
    return `${name.padEnd(width)}  ${state.padEnd(8)}  ${path ?? `${about}${names}`}`
  })
  output.show(rows, lines.join("\n"))
}

/** What the command line asks for: an image of the catalog, from its makers or a mirror; or an image of the user's own. */
function wantedOf(what: string, from: string | undefined, sha256: string | undefined): Wanted {
  const own = from !== undefined && !catalog().some(({ name }) => name === exactName(what))
  if (own) return ownImage(what, parseAddress(absolute(from), "--from"), sha256)
  if (sha256 !== undefined)
    throw usageError("--sha256 is for an image of your own", {
      hint: "banger has the sums of what it knows",
      subject: "--sha256",
    })
  const item = findItem(what)
  return { name: item.name, from: source(item, from), sha256: item.sha256, members: item.members }
}

function ownImage(what: string, from: Address, sha256: string | undefined): Wanted {
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/.test(sha256))
    throw usageError("--sha256 has 64 characters of 0-9 and a-f", { subject: "--sha256" })
  if (sha256 === undefined && "url" in from) {
    throw usageError("an image of your own from a URL needs its sum", {
      hint: "add --sha256 with what sha256sum says of it",
      subject: "--sha256",
    })
  }
  return { name: exactName(what), from, sha256 }
}

function source(item: ReturnType<typeof findItem>, from: string | undefined): Address {
  if (from !== undefined) return parseAddress(absolute(from), "--from")
  const mirror = process.env.BANGER_MIRROR
  return mirror ? below(parseAddress(mirror, "BANGER_MIRROR"), item.file) : parseAddress(item.url, "the catalog")
}

/** A path as the user typed it, from the working directory. */
function absolute(path: string): string {
  return /^[a-z]+:/.test(path) ? path : process.getBuiltinModule("node:path").resolve(path)
}
