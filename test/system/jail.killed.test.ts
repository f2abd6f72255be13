import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { tearDown } from "../../src/host/jail/tearDown.ts"
import { makeExample } from "../fixtures/jail.ts"
import { expectNoJail, manifest } from "./support/canary.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const driver = join(import.meta.dir, "../fixtures/jailDriver.ts")

async function drive(work: string, dir: string, last: number) {
  const child = Bun.spawn([process.execPath, driver, work, dir, String(last)], { stdout: "pipe", stderr: "pipe" })
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { out, err, signal: child.signalCode }
}

test.each(["stage", "teardown"])(
  "killed after each system call of %s: what was written down is enough to leave nothing",
  async (work) => {
    const { out, err } = await drive(work, place.dir, 0)
    expect(err).toBe("")
    const calls = Number(out)
    expect(calls).toBeGreaterThan(100)
    let next = 1
    const worker = async (name: string) => {
      const dir = join(place.dir, name)
      mkdirSync(dir)
      const { site } = makeExample(dir)
      const sources = manifest(dir)
      while (next <= calls) {
        const at = next++
        const { signal } = await drive(work, dir, at)
        expect(signal, `call ${at}`).toBe("SIGKILL")
        const file = join(dir, "inode")
        // What a boot before this one wrote down is not this one's.
        tearDown(site, existsSync(file) ? readFileSync(file, "utf8") : null)
        Bun.spawnSync(["rm", "-f", file])
        expectNoJail(site, `call ${at}`)
        expect(manifest(dir), `call ${at}`).toEqual(sources)
        tearDown(site, null)
      }
    }
    await Promise.all([worker("a"), worker("b")])
  },
)

test("a removal that an earlier banger began is finished: that one had moved the jail to .grave", () => {
  const { site } = makeExample(place.dir)
  const moved = join(site.base, ".grave", `${site.id}.77.0`)
  mkdirSync(join(moved, "root"), { recursive: true })
  writeFileSync(join(moved, "root/disk0"), "a disk")
  tearDown(site, "8:1:77")
  expect(existsSync(moved)).toBe(false)
  expectNoJail(site, "after a removal by two versions")
})
