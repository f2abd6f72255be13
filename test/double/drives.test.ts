import { expect, test } from "bun:test"
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pairs } from "../real.ts"
import { banger, fixture } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"

const place = eachOnDoubles()
const both = pairs({ bin: "", env: {} })

/** An image of this size in the place. */
function image(bytes: number): string {
  const path = join(place.dir, "own disk.img")
  writeFileSync(path, "x".repeat(bytes))
  return path
}

/** Runs a guest that says how many sectors its disk has: one of the spec, or staged by its preBoot. */
const run = (env: object, spec: object, ...staged: object[]) => {
  const words = [kernelOf(place.dir, "DISK"), JSON.stringify({ jail: false, ...spec }), JSON.stringify(staged)]
  return banger(place, ["run", fixture("drives"), "--", ...words], { ...env })
}

const logOf = (id = "") => readFileSync(join(place.state, "vms", id, "firecracker.log"), "utf8")

for (const [which, { env }] of both) {
  test.each([
    ["a script of 200 bytes", "write", 200, "D8"],
    ["one byte", "write", 1, "D8"],
    ["whole sectors, which stay as they are", "write", 1536, "D3"],
  ])(`a guest sees all that was staged: %s (on the ${which} Firecracker)`, async (_, by, of, said) => {
    const { stdout, stderr, exit } = await run(env, {}, { by, of })
    expect({ stderr, exit }).toMatchObject({ exit: 0 })
    expect(stdout).toContain(said)
    expect(logOf(records(place)[0]?.id)).not.toContain("sector size")
  })

  test(`a copy is padded, and its source is not (on the ${which} Firecracker)`, async () => {
    const path = image(700)
    const { stdout, exit } = await run(env, {}, { by: "copy", of: path })
    expect({ stdout, exit }).toEqual({ stdout: expect.stringContaining("D8"), exit: 0 })
    expect(statSync(path).size).toBe(700)
  })

  test(`a user's own image of whole sectors is taken as it is (on the ${which} Firecracker)`, async () => {
    const { stdout, exit } = await run(env, { drives: [{ path: image(1024), write: "shared" }] })
    expect({ stdout, exit }).toEqual({ stdout: expect.stringContaining("D2"), exit: 0 })
  })
}

const MEND = "pad it with zeros: truncate -s %512 '"

test("a user's own image that ends within a sector is refused with what mends it; nothing is made", async () => {
  const path = image(700)
  const { stderr, exit } = await run({}, { drives: [{ path, write: "shared" }] })
  expect(exit).toBe(2)
  expect(stderr).toContain(
    `drives[0].path: ${path} is no whole number of 512-byte sectors: a guest would not see its last 188 bytes`,
  )
  expect(stderr).toContain(`${MEND}${path}'`)
  expect(records(place)).toEqual([])
  expect((await run({}, { drives: [{ path }] })).stdout).toContain("D8")
  expect(statSync(path).size).toBe(700)
  const mended = Bun.spawnSync(["sh", "-c", `truncate -s %512 '${path}'`])
  expect(mended.exitCode).toBe(0)
  expect((await run({}, { drives: [{ path, write: "shared" }] })).stdout).toContain("D2")
})

test("so it is for a plan, and on QEMU", async () => {
  const words = [
    kernelOf(place.dir),
    JSON.stringify({ jail: false, vmm: "qemu", drives: [{ path: image(700), write: "shared" }] }),
  ]
  expect((await banger(place, ["run", fixture("drives"), "--plan", "--", ...words])).stderr).toContain(MEND)
  expect((await banger(place, ["run", fixture("drives"), "--", ...words])).stderr).toContain(MEND)
})

test("a hook's link to such an image is refused, of what its symlink leads to the guest gets a copy; the image stays as it is", async () => {
  const path = image(700)
  const { stderr, exit } = await run({}, {}, { by: "link", of: path })
  expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining("no whole number of 512-byte sectors") })
  expect(statSync(path)).toMatchObject({ size: 700, nlink: 1 })
  expect((await run({}, {}, { by: "symlink", of: path })).stdout).toContain("D8")
  expect(statSync(path)).toMatchObject({ size: 700, nlink: 1 })
  expect(readdirSync(place.runtime)).toEqual([])
})

test("what is empty is refused by name", async () => {
  const own = await run({}, { drives: [{ path: image(0) }] })
  expect(own.stderr).toContain(`drives[0].path: ${join(place.dir, "own disk.img")} is empty`)
  const staged = await run({}, {}, { by: "write", of: 0 })
  expect(staged.stderr).toMatch(/drives: \/.*staged0 is empty/)
  expect(staged.exit).toBe(2)
})
