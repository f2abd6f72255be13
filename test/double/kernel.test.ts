import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture } from "../system/support/banger.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"

const place = eachOnDoubles()

test.each([
  ["gzip", Bun.gzipSync("a kernel")],
  ["qcow2", Buffer.from("QFI\xfb and more", "latin1")],
  ["cpio", Buffer.from("070701 and more")],
])("a kernel that is %s is refused before there is a record, by a plan too", async (name, bytes) => {
  const kernel = join(place.dir, "kernel")
  writeFileSync(kernel, bytes)
  for (const flags of [[], ["--plan"]]) {
    const { stderr, exit } = await banger(place, [
      "run",
      ...flags,
      fixture("firecracker"),
      "--",
      kernel,
      '{"jail":false}',
    ])
    expect(stderr).toContain(`begins as a ${name} `)
    expect(exit).toBe(2)
  }
  expect(records(place)).toEqual([])
})
