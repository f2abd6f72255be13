import { Database } from "bun:sqlite"
import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { pairs } from "../real.ts"
import { banger, fixture } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"
import { bootUnsupervised, bootWords } from "./support/vms.ts"

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

test.skipIf(pages === undefined)(
  "a VM that lives has its pages: a run watches or replaces it all the same",
  async () => {
    const machine = (huge_pages: string) => ({
      memory: `${((pages ?? 0) + 8) * 2}M`,
      firecracker: { machine: { huge_pages } },
    })
    const { id } = await bootUnsupervised(place, machine("None"))
    // As if this host had had so many.
    using db = new Database(join(place.state, "state.db"))
    db.query("update vms set spec = replace(spec, 'None', '2M'), request = replace(request, 'None', '2M')").run()
    const watched = await banger(place, bootWords(place, machine("2M")))
    expect(watched).toMatchObject({ stdout: "double\n", exit: 0 })
    expect(records(place)).toMatchObject([{ id, state: "running" }])
    const larger = { ...machine("2M"), memory: `${((pages ?? 0) + 100) * 2}M` }
    const refused = await banger(place, bootWords(place, { ...larger, flags: ["--replace", "--detach"] }))
    expect(refused.stderr).toContain("huge_pages: the guest's")
    expect(records(place)).toMatchObject([{ id, state: "running" }])
    expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
  },
)
