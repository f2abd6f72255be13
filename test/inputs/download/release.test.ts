import { afterEach, beforeEach, expect, test } from "bun:test"
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseAddress } from "../../../src/inputs/download/address.ts"
import { unpackFiles } from "../../../src/inputs/download/archive.ts"
import { downloadArchive, findRelease, isNewer, parseVersion } from "../../../src/inputs/download/release.ts"
import { replaceBinary, rollBack } from "../../../src/inputs/download/replaceBinary.ts"
import { failure } from "../../failure.ts"
import { newKey, smallProgram, writeRelease, writeSums } from "../../fixtures/release.ts"
import { type ReleaseServer, serveReleases } from "../../fixtures/releaseServer.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const key = newKey()
const publicKey = Buffer.from(key.raw).toString("base64")
const manner = { stallMs: 1000, waitsMs: [1] }
let server: ReleaseServer

beforeEach(() => {
  for (const version of ["0.1.0", "0.2.0"]) writeRelease(join(directory.path, "releases"), { version, key })
  server = serveReleases(join(directory.path, "releases"), "0.2.0")
})
afterEach(() => server[Symbol.asyncDispose]())

const releases = () => parseAddress(server.url, "x")
const bytes = (text: string) => new TextEncoder().encode(text)

test("the latest release, and one by its version, with the binary that is in its archive", async () => {
  const latest = await findRelease(releases(), undefined, { ...manner, publicKey })
  expect(latest.version).toBe("0.2.0")
  const archive = await downloadArchive(latest, "linux-x64", manner)
  expect(new TextDecoder().decode((await unpackFiles(archive, ["banger"]))[0])).toBe(smallProgram("0.2.0"))
  expect((await findRelease(releases(), "0.1.0", { ...manner, publicKey })).version).toBe("0.1.0")
  expect(downloadArchive(latest, "linux-mips", manner)).rejects.toThrow(
    failure("UNSUPPORTED", "banger 0.2.0 has no build for linux-mips"),
  )
})

test("the latest is fetched by its version, also when another becomes the latest meanwhile", async () => {
  const latest = await findRelease(releases(), undefined, { ...manner, publicKey })
  server.latest = "0.1.0"
  await downloadArchive(latest, "linux-x64", manner)
  expect(server.asked.at(-1)).toBe("/releases/download/v0.2.0/banger-linux-x64.tar.gz")
})

test("what is not signed by the key, is another version's, or has no version, is refused", async () => {
  const out = join(directory.path, "releases/download/v0.2.0")
  const other = Buffer.from(newKey().raw).toString("base64")
  expect(findRelease(releases(), undefined, { ...manner, publicKey: other })).rejects.toThrow(
    failure("NOT_AUTHENTIC", "is not the project's"),
  )
  server.faults.set("v0.2.0/SHA256SUMS", (_, whole) => new Response(new Uint8Array([...whole, 10])))
  expect(findRelease(releases(), undefined, { ...manner, publicKey })).rejects.toThrow(
    failure("NOT_AUTHENTIC", "is not the project's"),
  )
  await findRelease(releases(), undefined, { ...manner, publicKey }).catch(() => {})
  server.faults.clear()
  server.faults.set("SHA256SUMS.sig", () => new Response("short"))
  await expect(findRelease(releases(), undefined, { ...manner, publicKey })).rejects.toThrow(
    failure("NOT_AUTHENTIC", "is not the project's"),
  )
  server.faults.clear()
  for (const name of ["SHA256SUMS", "SHA256SUMS.sig"])
    writeFileSync(join(out, name), readFileSync(join(out, `../v0.1.0/${name}`)))
  await expect(findRelease(releases(), "0.2.0", { ...manner, publicKey })).rejects.toThrow(
    failure("NOT_AUTHENTIC", "is the release 0.1.0, not 0.2.0"),
  )
  writeSums(out, "nothing\n", key)
  await expect(findRelease(releases(), undefined, { ...manner, publicKey })).rejects.toThrow(
    failure("NOT_AUTHENTIC", "is not a list of a release's sums"),
  )
})

test("a damaged archive is refused", async () => {
  const latest = await findRelease(releases(), undefined, { ...manner, publicKey })
  server.faults.set(".tar.gz", (_, whole) => new Response(new Uint8Array(whole.toReversed())))
  await expect(downloadArchive(latest, "linux-x64", manner)).rejects.toThrow(
    failure("NOT_AUTHENTIC", "is not what the release has"),
  )
})

test("versions", () => {
  expect([isNewer("0.10.0", "0.9.9"), isNewer("0.2.0", "0.2.0"), isNewer("0.1.0", "0.2.0")]).toEqual([
    true,
    false,
    false,
  ])
  expect(isNewer("1.0.0", "1.0.0-rc.1")).toBe(true)
  expect(parseVersion("v1.2.3")).toBe("1.2.3")
  for (const bad of ["", "v", "../1", "1/2", "1 2", "x1"])
    expect(() => parseVersion(bad), bad).toThrow(failure("USAGE", "is not a version"))
})

function installed(): string {
  const bin = join(directory.path, "bin")
  mkdirSync(bin)
  writeFileSync(join(bin, "banger"), smallProgram("0.1.0"), { mode: 0o755 })
  return join(bin, "banger")
}
const left = () => readdirSync(join(directory.path, "bin")).sort()

test("a new binary takes the old one's place, which is kept; going back swaps them", () => {
  const path = installed()
  replaceBinary(path, bytes(smallProgram("0.2.0")), "0.2.0")
  expect(left()).toEqual(["banger", "banger.old"])
  expect(readFileSync(path, "utf8")).toBe(smallProgram("0.2.0"))
  expect(statSync(path).mode & 0o7777).toBe(0o755)
  expect(readFileSync(`${path}.old`, "utf8")).toBe(smallProgram("0.1.0"))
  expect(rollBack(path)).toBe("0.1.0")
  expect(readFileSync(path, "utf8")).toBe(smallProgram("0.1.0"))
  expect(readFileSync(`${path}.old`, "utf8")).toBe(smallProgram("0.2.0"))
  expect(rollBack(path)).toBe("0.2.0")
  writeFileSync(`${path.slice(0, -6)}.banger.new.999999999`, "left by a killed update")
  writeFileSync(`${path.slice(0, -6)}.banger.new.old.999999999`, "left by a killed update")
  replaceBinary(path, bytes(smallProgram("0.3.0")), "0.3.0")
  expect(readFileSync(`${path}.old`, "utf8")).toBe(smallProgram("0.2.0"))
  expect(left()).toEqual(["banger", "banger.old"])
})

test.each([
  ["does not run", "#!/bin/sh\necho no luck >&2\nexit 1\n", "does not run here: no luck"],
  ["is another version", smallProgram("0.1.9"), "the release 0.2.0 holds banger 0.1.9"],
  ["is no banger", "#!/bin/sh\necho hello\n", 'does not run here: it says "hello'],
  ["is no program", "\0\0", "does not run here"],
])("a new binary that %s is not put in place", (_, program, message) => {
  const path = installed()
  expect(() => replaceBinary(path, bytes(program), "0.2.0")).toThrow(message)
  expect(left()).toEqual(["banger"])
  expect(readFileSync(path, "utf8")).toBe(smallProgram("0.1.0"))
})

test("going back without a kept one, and a package manager's binary, are refused", () => {
  expect(() => rollBack(installed())).toThrow(/there is no .*banger\.old/)
  expect(left()).toEqual(["banger"])
  expect(() => replaceBinary("/usr/bin/banger", bytes("x"), "1")).toThrow(failure("IN_USE", "is a package manager's"))
})
