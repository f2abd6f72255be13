import pkg from "../../../package.json" with { type: "json" }
import { Failure } from "../../base/terms/failure.ts"
import { parseAddress } from "../../inputs/download/address.ts"
import { unpackFiles } from "../../inputs/download/archive.ts"
import { stallLimitMs } from "../../inputs/download/download.ts"
import { downloadArchive, findRelease, isNewer, parseVersion } from "../../inputs/download/release.ts"
import { replaceBinary, rollBack } from "../../inputs/download/replaceBinary.ts"
import type { Update, UpdateCheck } from "../show/documents.ts"
import { BUILD } from "../terminal/build.ts"
import { command } from "../terminal/command.ts"
import { startProgress } from "../terminal/progress.ts"

export default command({
  meta: { name: "update", description: "Replace this banger by a newer release; running VMs are left alone" },
  args: {
    check: { type: "boolean", description: "Only print the latest version if it is newer than this one" },
    version: { type: "string", valueHint: "VERSION", description: "Take this release, also an older one" },
    rollback: { type: "boolean", description: "Go back to the banger that was here before" },
  },
  async run(values, { output }) {
    const path = ownPath()
    if (values.rollback === true) {
      const version = rollBack(path)
      output.log.info(`back to banger ${version}; the one that was here is ${path}.old`)
      output.show({ version, before: pkg.version, path } satisfies Update, "")
      return undefined
    }
    const manner = { stallMs: stallLimitMs() }
    const version = values.version === undefined ? undefined : parseVersion(values.version)
    const release = await findRelease(releases(), version, { ...manner, publicKey: BUILD.publicKey })
    if (values.check === true) {
      const newer = isNewer(release.version, pkg.version)
      const check: UpdateCheck = { current: pkg.version, latest: release.version, newer }
      output.show(check, newer ? release.version : "")
      return undefined
    }
    if (release.version === pkg.version || (values.version === undefined && !isNewer(release.version, pkg.version))) {
      output.log.info(
        `this is banger ${pkg.version}; ${release.version} is ${values.version === undefined ? "the latest" : "what was asked for"}`,
      )
      output.show({ version: pkg.version, before: pkg.version, path } satisfies Update, "")
      return undefined
    }
    const progress = startProgress(`banger ${release.version}`, output.manner)
    const archive = await downloadArchive(release, BUILD.target, { ...manner, onProgress: progress.update }).finally(
      progress.end,
    )
    const [binary = new Uint8Array()] = await unpackFiles(archive, ["banger"])
    replaceBinary(path, binary, release.version)
    output.log.info(`updated banger ${pkg.version} to ${release.version}; to go back: banger update --rollback`)
    output.show({ version: release.version, before: pkg.version, path } satisfies Update, "")
    return undefined
  },
})

// --- internal ---

function ownPath(): string {
  if (!BUILD.compiled) throw new Failure("UNSUPPORTED", "this banger runs from its source", { hint: "run: git pull" })
  return process.execPath
}

function releases(): ReturnType<typeof parseAddress> {
  const place = process.env.BANGER_RELEASES || BUILD.releases
  if (BUILD.publicKey === "" || place === "") {
    const hint = "install a release by its install.sh; from then on banger update works"
    throw new Failure("UNSUPPORTED", "this banger is not from a release: it has no key to check one with", { hint })
  }
  return parseAddress(place, "BANGER_RELEASES")
}
