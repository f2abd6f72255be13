import { afterEach, beforeEach, expect, test } from "bun:test"
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { below, parseAddress, redirected, shownAddress } from "../../../src/inputs/download/address.ts"
import { stallLimitMs } from "../../../src/inputs/download/download.ts"
import { catalog, exactName, findItem } from "../../../src/inputs/image/catalog.ts"
import { getImage } from "../../../src/inputs/image/getImage.ts"
import { imagePath, listImages, removeImage } from "../../../src/inputs/image/store.ts"
import { failure } from "../../failure.ts"
import { type ReleaseServer, serveReleases, stalling } from "../../fixtures/releaseServer.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const content = Buffer.alloc(300_000, "kernel ")
const sha256 = new Bun.CryptoHasher("sha256").update(content).digest("hex")
const manner = { limitBytes: 1_000_000, stallMs: 1000, waitsMs: [1, 1, 1] }
let server: ReleaseServer
let where = { state: "", runtime: "" }

beforeEach(() => {
  mkdirSync(join(directory.path, "served/download/v1"), { recursive: true })
  writeFileSync(join(directory.path, "served/download/v1/kernel"), content)
  server = serveReleases(join(directory.path, "served"), "1")
  where = { state: join(directory.path, "state"), runtime: join(directory.path, "run") }
})
afterEach(() => server[Symbol.asyncDispose]())

const address = () => parseAddress(`${server.url}/download/v1/kernel`, "x")
const wanted = () => ({ name: "kernel", from: address(), sha256 })
const files = () => readdirSync(join(where.state, "images")).sort()

test("an image is got once, readable by jails, and taken away", async () => {
  const seen: number[] = []
  const got = await getImage(where, wanted(), { ...manner, onProgress: (done) => seen.push(done) })
  expect(got).toEqual({ path: join(where.state, "images/kernel"), new: true })
  expect(readFileSync(got.path)).toEqual(content)
  expect(statSync(got.path).mode & 0o777).toBe(0o644)
  expect(seen.at(-1)).toBe(content.length)
  expect(files()).toEqual(["kernel"])
  expect(listImages(where)).toEqual([{ name: "kernel", path: got.path, bytes: content.length }])
  expect(imagePath(where, "kernel")).toBe(got.path)
  expect(await getImage(where, wanted(), manner)).toMatchObject({ new: false })
  expect(server.asked.length).toBe(1)
  removeImage(where, "kernel")
  expect(files()).toEqual([])
  expect(() => removeImage(where, "kernel")).toThrow(failure("BAD_FILE", "the image kernel is not here"))
  expect(() => imagePath(where, "kernel")).toThrow(failure("BAD_FILE", "is not here"))
})

test("an image of that name that is another one is not taken for what is wanted", async () => {
  const [kernel, other] = ["a", "b"].map((name) => join(directory.path, name))
  writeFileSync(kernel ?? "", "one")
  writeFileSync(other ?? "", "two")
  const mine = (file = "", sum?: string) => ({ name: "mine", from: parseAddress(file, "x"), sha256: sum })
  const got = await getImage(where, mine(kernel), manner)
  expect(await getImage(where, mine(kernel), manner)).toEqual({ path: got.path, new: false })
  await expect(getImage(where, mine(other), manner)).rejects.toThrow(
    failure("CHANGED", "the image mine that is here is another one"),
  )
  await expect(getImage(where, { ...wanted(), name: "mine" }, manner)).rejects.toThrow("is another one, or was changed")
  expect(readFileSync(got.path, "utf8")).toBe("one")
})

test("a download that breaks off is gone on from, by a server that can and by one that cannot", async () => {
  const ranges: (string | null)[] = []
  server.faults.set("kernel", (request, whole) => {
    ranges.push(request.headers.get("range"))
    if (ranges.length > 1) return undefined
    return stalling(100_000)(request, whole)
  })
  expect(await getImage(where, wanted(), { ...manner, stallMs: 100 })).toMatchObject({ new: true })
  expect(ranges).toEqual([null, "bytes=100000-"])
  removeImage(where, "kernel")

  mkdirSync(join(where.state, "images"), { recursive: true })
  const part = join(where.state, "images/.kernel.part")
  const asked: (string | null)[] = []
  server.faults.set("kernel", (request) => {
    asked.push(request.headers.get("range"))
    return undefined
  })
  writeFileSync(part, content.subarray(0, 1234))
  expect(await getImage(where, wanted(), manner)).toMatchObject({ new: true })
  expect(asked).toEqual(["bytes=1234-"])
  removeImage(where, "kernel")

  writeFileSync(part, content.subarray(0, 1234))
  server.faults.set("kernel", (_, whole) => new Response(new Uint8Array(whole)))
  expect(await getImage(where, wanted(), manner)).toMatchObject({ new: true })
  expect(readFileSync(join(where.state, "images/kernel"))).toEqual(content)
  expect(files()).toEqual(["kernel"])
})

test("what an earlier try left is not believed: of something else, longer than it can be, or whole", async () => {
  const images = join(where.state, "images")
  mkdirSync(images, { recursive: true })
  for (const left of [Buffer.from("something else"), Buffer.alloc(400_000), content]) {
    server.asked.length = 0
    writeFileSync(join(images, ".kernel.part"), left)
    expect(await getImage(where, wanted(), manner)).toMatchObject({ new: true })
    expect(readFileSync(join(images, "kernel"))).toEqual(content)
    if (left === content) expect(server.asked).toEqual([])
    removeImage(where, "kernel")
  }
})

test("a server that calls a compressed file an encoding changes nothing of it", async () => {
  const packed = Bun.gzipSync(content)
  server.faults.set("kernel", () => new Response(packed, { headers: { "content-encoding": "gzip" } }))
  const sum = new Bun.CryptoHasher("sha256").update(packed).digest("hex")
  const got = await getImage(where, { ...wanted(), sha256: sum }, manner)
  expect(readFileSync(got.path)).toEqual(Buffer.from(packed))
})

test.each<[string, () => Response | Promise<Response>, RegExp]>([
  ["other content", () => new Response("not a kernel"), /is not what it should be: its sha256 is not/],
  ["no such file", () => new Response("", { status: 404 }), /the server answers 404/],
  ["more than there may be", () => new Response(Buffer.alloc(2_000_000)), /is larger than the 1000000 bytes/],
  [
    "a redirect to http",
    () => Response.redirect("http://example.org/kernel"),
    /redirects to http:\/\/example\.org\/kernel, which is not https/,
  ],
  ["a redirect to nowhere", () => new Response("", { status: 302 }), /redirects to nowhere/],
])("%s is refused, and nothing has the image's name", async (_, answer, message) => {
  server.faults.set("kernel", answer)
  expect(getImage(where, wanted(), manner)).rejects.toThrow(message)
  await getImage(where, wanted(), manner).catch(() => {})
  expect(files()).toEqual([".kernel.part"])
})

test("a redirect that goes round is given up", async () => {
  server.faults.set("kernel", (request) => Response.redirect(request.url))
  expect(getImage(where, wanted(), manner)).rejects.toThrow(failure("DOWNLOAD_FAILED", "redirects more than 10 times"))
})

test("a stall, and a server that keeps failing, are given up after some tries", async () => {
  server.faults.set("kernel", stalling(10))
  expect(getImage(where, wanted(), { ...manner, stallMs: 100 })).rejects.toThrow(
    /cannot be downloaded: nothing came for 0\.1 s/,
  )
  await expect(getImage(where, wanted(), { ...manner, stallMs: 100 })).rejects.toMatchObject({
    ...{ code: "TIMED_OUT", exit: 124, subject: shownAddress(address()) },
  })
  server.faults.set("kernel", () => new Response("", { status: 503 }))
  expect(getImage(where, { ...wanted(), name: "other" }, manner)).rejects.toThrow(
    failure("DOWNLOAD_FAILED", "the server answers 503"),
  )
})

test("a server that is gone", async () => {
  await server[Symbol.asyncDispose]()
  const failing = getImage(where, wanted(), manner)
  expect(failing).rejects.toThrow(/cannot be downloaded/)
  await failing.catch(() => {})
})

test("two bangers that get the same: one does, the other is told", async () => {
  server.faults.set("kernel", async () => {
    await Bun.sleep(200)
    return undefined as never
  })
  const both = await Promise.allSettled([getImage(where, wanted(), manner), getImage(where, wanted(), manner)])
  expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"])
  const lost = both.find(({ status }) => status === "rejected") as PromiseRejectedResult
  expect(lost.reason).toMatchObject({ message: "another banger is getting kernel", exit: 75 })
  expect(files()).toEqual(["kernel"])
})

test("an archive becomes a directory with what is wanted of it, executable", async () => {
  const source = join(directory.path, "release-v1-x")
  mkdirSync(source)
  for (const name of ["firecracker-v1", "jailer-v1", "README"]) writeFileSync(join(source, name), `${name}\n`)
  const tar = Bun.spawnSync(["tar", "-C", directory.path, "-c", "release-v1-x"]).stdout
  const archive = Bun.gzipSync(new Uint8Array(tar))
  writeFileSync(join(directory.path, "fc.tgz"), archive)
  const item = {
    name: "firecracker-1",
    from: { file: join(directory.path, "fc.tgz") },
    sha256: new Bun.CryptoHasher("sha256").update(archive).digest("hex"),
    members: { firecracker: "firecracker-v1", jailer: "jailer-v1" },
  }
  // A crash between two steps left this.
  mkdirSync(join(where.state, "images/.firecracker-1.dir"), { recursive: true })
  writeFileSync(join(where.state, "images/.firecracker-1.dir/jailer"), "old")
  const { path } = await getImage(where, item, manner)
  expect(readdirSync(path).sort()).toEqual(["firecracker", "jailer"])
  expect(readFileSync(join(path, "jailer"), "utf8")).toBe("jailer-v1\n")
  expect(statSync(join(path, "jailer")).mode & 0o777).toBe(0o755)
  expect(files()).toEqual(["firecracker-1"])
  expect(listImages(where)[0]?.bytes).toBe(25)
  removeImage(where, "firecracker-1")
  expect(existsSync(path)).toBe(false)
})

test("a file of this host is copied; what is no file, too large, or not there is refused", async () => {
  const path = join(directory.path, "served/download/v1/kernel")
  const own = { name: "own", from: { file: path }, sha256: undefined }
  expect(readFileSync((await getImage(where, own, manner)).path)).toEqual(content)
  for (const [file, message] of [
    ["/dev/zero", "is not a regular file"],
    [directory.path, "is not a regular file"],
    ["/nonexistent", "cannot be read"],
  ] as const)
    await expect(getImage(where, { ...own, name: "x", from: { file } }, manner)).rejects.toThrow(message)
  await expect(getImage(where, { ...own, name: "y" }, { ...manner, limitBytes: 10 })).rejects.toThrow(
    failure("BAD_FILE", "larger than 10 bytes"),
  )
})

test("where things may be downloaded from", () => {
  expect(parseAddress("/mirror", "x")).toEqual({ file: "/mirror" })
  expect(parseAddress("file:///a%20b", "x")).toEqual({ file: "/a b" })
  expect(below({ file: "/m/" }, "f")).toEqual({ file: "/m/f" })
  expect(below(parseAddress("https://x.example/m/?token=1", "x"), "f")).toMatchObject({
    url: { href: "https://x.example/m/f?token=1" },
  })
  for (const bad of [
    "http://x.example",
    "http://127.0.0.1.example.org",
    "ftp://x",
    "x",
    "",
    "http://localhost@x.example",
  ])
    expect(() => parseAddress(bad, "BANGER_MIRROR"), bad).toThrow(failure("BAD_CONFIG", "BANGER_MIRROR is"))
  const https = new URL("https://x.example/a")
  expect(redirected(https, "/b").href).toBe("https://x.example/b")
  expect(redirected(https, "https://y.example/").href).toBe("https://y.example/")
  // A server elsewhere has no business on this host's loopback.
  expect(() => redirected(https, "http://127.0.0.1/")).toThrow(failure("DOWNLOAD_FAILED", "not https"))
  expect(() => redirected(new URL("http://127.0.0.1:1/"), "http://127.0.0.1:2/")).toThrow(
    failure("DOWNLOAD_FAILED", "not https"),
  )
})

test("names of images", () => {
  expect(exactName("vmlinux-6.1")).toBe("vmlinux-6.1.155")
  for (const bad of ["", "..", "../x", "a/b", ".x", "A", "ls", "rm", "path", "x".repeat(65), "a\0"])
    expect(() => exactName(bad), bad).toThrow(failure("BAD_FILE", "cannot be the name of an image"))
  expect(() => findItem("firecraker")).toThrow(failure("USAGE", "banger knows no image firecraker"))
  for (const arch of ["x86_64", "aarch64"] as const)
    for (const item of catalog(arch)) {
      expect(item.sha256).toMatch(/^[0-9a-f]{64}$/)
      expect(item.url).toContain(arch)
      expect(item.file).toContain(arch)
      expect(new URL(item.url).protocol).toBe("https:")
    }
})

test.each(["0", "-1", "x", "1.5", "1e9"])("BANGER_TIMEOUT=%s is refused", (text) => {
  expect(() => stallLimitMs(text)).toThrow(failure("BAD_CONFIG", "BANGER_TIMEOUT is"))
  expect(stallLimitMs("2")).toBe(2000)
  expect(stallLimitMs("")).toBe(30_000)
})
