import { expect, test } from "bun:test"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fixture, start } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const place = eachInItsPlace()
const script = join(import.meta.dir, "../../scripts/guest-image")

/** Makes a guest with a root disk that has a file of ours; returns the sha256 of each of its files. */
function makeImage(out: string, file: string): Record<string, string> {
  const made = Bun.spawnSync([script, "--out", out, "--rootfs", "16M", `${file}:/root/note`], { stderr: "pipe" })
  expect({ code: made.exitCode, said: made.stderr.toString() }).toMatchObject({ code: 0 })
  const files = ["vmlinuz", "vmlinux", "initrd.img", "rootfs.ext4"]
  return Object.fromEntries(files.map((name) => [name, Bun.SHA256.hash(readFileSync(join(out, name)), "hex")]))
}

test("a guest image is the same bytes each time, and its root disk boots and answers on the console", async () => {
  const note = join(place.dir, "note")
  const token = crypto.randomUUID()
  writeFileSync(note, `${token}\n`)
  const [first, second] = ["one", "two"].map((name) => makeImage(join(place.dir, name), note))
  expect(second).toEqual(first ?? {})

  const run = start(place, ["run", fixture("rootDisk"), "--", join(place.dir, "one")])
  await run.shows("# ")
  writeFileSync(
    join(place.runtime, records(place)[0]?.id ?? "", "console.in"),
    "cat /root/note; mount | grep ' / '; reboot -f\n",
  )
  const { stdout, exit } = await run.ended
  expect(stdout).toContain(token)
  expect(stdout).toMatch(/\/dev\/\S+ on \/ type ext4 \(rw/)
  expect(exit).toBe(0)
})
