import pkg from "../../../package.json" with { type: "json" }
import { EXIT, Failure } from "../../base/terms/failure.ts"
import { parseAddress } from "../../inputs/download/address.ts"
import { unpackFiles } from "../../inputs/download/archive.ts"
import { stallLimitMs } from "../../inputs/download/download.ts"
import { downloadArchive, findRelease, isNewer, parseVersion } from "../../inputs/download/release.ts"
import { replaceBinary, rollBack } from "../../inputs/download/replaceBinary.ts"
import { BUILD } from "../terminal/build.ts"
import { command, type Invocation } from "../terminal/command.ts"
import { startProgress } from "../terminal/progress.ts"

export default command({
  meta: { name: "update", description: "Put a newer release in the place of this banger; VMs that run go on" },
  args: {
    check: { type: "boolean", description: "Only print the latest version if it is newer than this one" },
    version: { type: "string", valueHint: "VERSION", description: "Take this release, also an older one" },
    rollback: { type: "boolean", description: "Go back to the banger that was here before" },
    json: { type: "boolean", description: "With --check: print JSON" },
  },
  async run(values, { output }) {
    const path = ownPath()
    if (values.rollback === true) {
      output.log.info(`back to banger ${rollBack(path)}; the one that was here is ${path}.old`)
      return EXIT.ok
    }
    const manner = { stallMs: stallLimitMs() }
    const version = values.version === undefined ? undefined : parseVersion(values.version)
    const release = await findRelease(releases(), version, { ...manner, publicKey: BUILD.publicKey })
    if (values.check === true) return tell(release.version, values.json === true, output)
    if (release.version === pkg.version || (values.version === undefined && !isNewer(release.version, pkg.version))) {
      output.log.info(
        `this is banger ${pkg.version}; ${release.version} is ${values.version === undefined ? "the latest" : "what was asked for"}`,
      )
      return EXIT.ok
    }
    const progress = startProgress(`banger ${release.version}`, values.quiet === true)
    const archive = await downloadArchive(release, BUILD.target, { ...manner, onProgress: progress.update }).finally(
      progress.end,
    )
    const [binary = new Uint8Array()] = await unpackFiles(archive, ["banger"])
    replaceBinary(path, binary, release.version)
    output.log.info(`updated banger ${pkg.version} to ${release.version}; to go back: banger update --rollback`)
    return EXIT.ok
  },
})

// --- internal ---

function ownPath(): string {
  if (!BUILD.compiled) throw new Failure("FAILED", "this banger runs from its source", { hint: "run: git pull" })
  return process.execPath
}

function releases(): ReturnType<typeof parseAddress> {
  const place = process.env.BANGER_RELEASES || BUILD.releases
  if (BUILD.publicKey === "" || place === "") {
    const hint = "install a release by its install.sh; from then on banger update works"
    throw new Failure("FAILED", "this banger is no release's: it knows no key to check one by", { hint })
  }
  return parseAddress(place, "BANGER_RELEASES")
}

function tell(version: string, json: boolean, output: Invocation["output"]): number {
  const newer = isNewer(version, pkg.version)
  if (json) output.print(JSON.stringify({ current: pkg.version, latest: version, newer }))
  else if (newer) output.print(version)
  return EXIT.ok
}
