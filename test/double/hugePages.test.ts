import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { pairs } from "../real.ts"
import { banger, fixture } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"

const place = eachOnDoubles()
const COUNTS = "/sys/kernel/mm/hugepages/hugepages-2048kB"

/** How many pages this host could give; undefined where it does not tell. */
function pagesHere(): number | undefined {
  try {
    const [free = 0, spare = 0] = ["free_hugepages", "nr_overcommit_hugepages"].map((name) =>
      Number(readFileSync(`${COUNTS}/${name}`, "utf8")),
    )
    return free + spare
  } catch {
    return undefined
  }
}

const pages = pagesHere()
if (pages === undefined) console.log(`huge pages: left out: ${COUNTS} cannot be read`)

for (const [which, { env }] of pairs({ bin: "", env: {} })) {
  test.skipIf(pages === undefined)(`more huge pages than there are: told before the start (${which})`, async () => {
    const needed = (pages ?? 0) + 8
    const run = (fields: object, ...flags: readonly string[]) => {
      const spec = { jail: false, firecracker: { machine: { huge_pages: "2M" } }, ...fields }
      const words = [...flags, "--", kernelOf(place.dir, "RESET"), JSON.stringify(spec)]
      return banger(place, ["run", fixture("drives"), ...words], { ...env })
    }
    const { stderr, exit } = await run({ memory: `${needed * 2}M` })
    expect(exit).toBe(1)
    expect(stderr).toMatch(
      new RegExp(
        `huge_pages: the guest's ${needed * 2} MiB need ${needed} huge pages of 2 MiB, and this host has \\d+ free`,
      ),
    )
    expect(stderr).toMatch(/sysctl vm\.nr_hugepages=\d+/)
    expect(records(place)).toEqual([])
    const odd = await run({ memory: `${needed * 2 + 1}M` })
    expect(odd.stderr).toContain("firecracker.machine.huge_pages: memory must be an even number of MiB")
    // A plan is of any time.
    expect((await run({ memory: `${needed * 2}M` }, "--plan")).exit).toBe(0)
    const none = { machine: { huge_pages: "None" } }
    expect((await run({ memory: "16M", firecracker: none })).exit).toBe(0)
  })
}
