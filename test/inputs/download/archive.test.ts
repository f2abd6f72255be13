import { expect, test } from "bun:test"
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { unpackFiles } from "../../../src/inputs/download/archive.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

function put(path: string, content: string): void {
  mkdirSync(dirname(join(directory.path, path)), { recursive: true })
  writeFileSync(join(directory.path, path), content)
}

/** What the host's tar makes of the directory. */
function packed(...options: readonly string[]): Uint8Array<ArrayBuffer> {
  const { stdout } = Bun.spawnSync(["tar", "-C", directory.path, "-c", ...options])
  return new Uint8Array(stdout)
}

const unpacked = async (archive: Uint8Array<ArrayBuffer>, ...names: readonly string[]) =>
  (await unpackFiles(archive, names)).map((content) => new TextDecoder().decode(content))

test("the files that are named are found in any directory, by their order, gzipped or not", async () => {
  put("release/bin/vmm", "VMM")
  put("release/jailer", "jailer")
  put("release/README", "words")
  for (const archive of [packed("."), Bun.gzipSync(packed("."))])
    expect(await unpacked(archive, "jailer", "vmm")).toEqual(["jailer", "VMM"])
  // A name of more than 100 bytes is written in another way.
  put(`${"long/".repeat(30)}deep`, "found")
  expect(await unpacked(packed("."), "deep")).toEqual(["found"])
})

test("what is no regular file is not taken for one, nor a name for the end of another", async () => {
  put("vmm", "VMM")
  symlinkSync("vmm", join(directory.path, "link"))
  linkSync(join(directory.path, "vmm"), join(directory.path, "zzz"))
  mkdirSync(join(directory.path, "directory"))
  const archive = packed("vmm", "link", "zzz", "directory")
  for (const name of ["link", "zzz", "directory", "mm", "none"])
    await expect(unpackFiles(archive, [name]), name).rejects.toThrow(`the archive has no ${name}`)
})

test("two files of a name are refused: it is not known which is meant", async () => {
  put("a/vmm", "one")
  put("b/vmm", "two")
  await expect(unpackFiles(packed("."), ["vmm"])).rejects.toThrow("the archive has two files vmm")
})

test("an archive that is damaged or cut is refused, whatever it was to bring", async () => {
  put("vmm", "x".repeat(5000))
  const tar = packed("vmm")
  const gzipped = Bun.gzipSync(tar)
  const flipped = (bytes: Uint8Array<ArrayBuffer>, at: number) =>
    bytes.map((byte, index) => (index === at ? byte ^ 1 : byte))
  for (const [what, archive] of [
    ["cut in a file", tar.slice(0, 1000)],
    ["cut in the gzip", gzipped.slice(0, 60)],
    ["another header", flipped(tar, 100)],
    ["another sum", flipped(gzipped, gzipped.length - 6)],
    ["no archive", Bun.gzipSync("junk")],
    ["nothing", new Uint8Array()],
  ] as const)
    await expect(unpackFiles(archive, ["vmm"]), what).rejects.toMatchObject({
      code: "NOT_AUTHENTIC",
      message: expect.stringMatching(/^the archive (?:is damaged|has no vmm)/),
    })
})
