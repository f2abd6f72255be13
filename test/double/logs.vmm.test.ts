import { expect, test } from "bun:test"
import { appendFileSync } from "node:fs"
import { join } from "node:path"
import { pairs } from "../real.ts"
import { banger, fixture, start } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"

const place = eachOnDoubles()
const INFO = { firecracker: { logger: { level: "Info" } }, jail: false }

/** Runs a VM whose Firecracker logs what it is told. */
function run(env: object, words: string, flags: readonly string[] = []) {
  return banger(
    place,
    ["run", ...flags, fixture("firecracker"), "--", kernelOf(place.dir, words), JSON.stringify(INFO)],
    {
      ...env,
    },
  )
}

const linesOf = (text: string) => text.trimEnd().split("\n")
const fileOf = (name: string) => join(place.state, "vms", records(place)[0]?.id ?? "", name)

for (const [which, { env }] of pairs({ bin: "", env: {} })) {
  test(`logs --vmm shows Firecracker's log and what its program printed, each line once (${which})`, async () => {
    expect((await run(env, "RESET")).exit).toBe(0)
    // As a program that dies of a panic leaves it: without an end of its last line.
    appendFileSync(fileOf("firecracker.log"), "the log's last words")
    appendFileSync(fileOf("vmm.log"), "the program's own words\n")
    const { stdout, exit } = await banger(place, ["logs", "--vmm", "fc"])
    expect(exit).toBe(0)
    const lines = linesOf(stdout)
    expect(lines.filter((line) => line.includes('Put request on "/actions"'))).toHaveLength(1)
    expect(lines.filter((line) => line === "the log's last words")).toHaveLength(1)
    expect(lines.filter((line) => line === "the program's own words")).toHaveLength(1)
    const json = await banger(place, ["logs", "--vmm", "--json", "fc"])
    expect(linesOf(json.stdout).map((line) => JSON.parse(line).line)).toEqual(lines)
    const followed = await banger(place, ["logs", "--vmm", "--follow", "fc"])
    expect(linesOf(followed.stdout).sort()).toEqual([...lines].sort())
    expect((await banger(place, ["logs", "fc"])).stdout).toContain("BANGER-GUEST-UP")
  })

  test(`logs --vmm --follow shows both as they come, never one in the middle of the other (${which})`, async () => {
    expect((await run(env, "", ["--detach"])).exit).toBe(0)
    const logs = start(place, ["logs", "--vmm", "-f", "fc"])
    await logs.shows('Put request on "/actions"')
    appendFileSync(fileOf("vmm.log"), "a line\nhalf of one")
    await logs.shows("a line\n")
    expect((await banger(place, ["stop", "fc"])).exit).toBe(0)
    const { stdout, exit } = await logs.ended
    expect(exit).toBe(0)
    const lines = linesOf(stdout)
    expect(lines.filter((line) => line === "a line" || line === "half of one")).toEqual(["a line", "half of one"])
    expect(lines.filter((line) => line.endsWith("Firecracker exiting successfully. exit_code=0"))).toHaveLength(1)
  })
}
