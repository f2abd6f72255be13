import { afterEach, expect, test } from "bun:test"
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { lookForCgroups, tryCgroups } from "../../src/host/cgroup/usable.ts"
import { banger } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { doubleWords } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
const mount = cgroupMount() ?? ""

afterEach(() => void Bun.spawnSync(["mount", "-o", "remount,bind,rw", mount]))

onBoth(
  "with a read-only cgroup v2 a VM runs, and one line says what that gives up; with limits it is refused first",
  async () => {
    const run = (fields: object) => banger(place, doubleWords(place, [], "RESET PRINT[up]", fields), firecracker.env)
    expect(Bun.spawnSync(["mount", "-o", "remount,bind,ro", mount]).exitCode).toBe(0)
    const ran = await run({})
    expect(ran.stdout).toContain("up")
    expect(ran.stderr).toContain(`cgroup v2 at ${mount} cannot be used: it is mounted read-only`)
    expect(ran.exit).toBe(0)
    expect((await banger(place, ["rm", "double"])).exit).toBe(0)
    const refused = await run({ limits: { pids: 100 } })
    expect(refused.stderr).toContain("limits: cgroup v2 at")
    expect(refused.stderr).toContain(`mount -o remount,rw ${mount}`)
    expect({ exit: refused.exit, records: records(place) }).toEqual({ exit: 1, records: [] })
    const { stdout } = await banger(place, ["doctor", "--json"])
    const found = JSON.parse(stdout).checks.find(({ id }: { id: string }) => id === "cgroups")
    expect(found).toMatchObject({ is: "warn", says: expect.stringContaining("it is mounted read-only") })
    // The command that the hint names mends it.
    Bun.spawnSync(["sh", "-c", found.hint.split(";")[0].replace("remount", "remount,bind")])
    expect(lookForCgroups()).toEqual({ is: "usable", mount })
  },
)

test("what keeps a cgroup from being made is told by its cause: none left, too deep, a controller that is not there", () => {
  const own = `${mount}/banger-test-${process.pid}`
  mkdirSync(own)
  try {
    expect(tryCgroups(own)).toEqual({ is: "usable", mount: own })
    // What a banger left that was killed in the middle of it.
    mkdirSync(`${own}/banger/.try`)
    expect(tryCgroups(own)).toEqual({ is: "usable", mount: own })
    expect(existsSync(`${own}/banger/.try`)).toBe(false)
    for (const file of ["cgroup.max.descendants", "cgroup.max.depth"]) {
      writeFileSync(`${own}/${file}`, "1")
      expect(tryCgroups(own)).toMatchObject({ is: "unusable", why: expect.stringContaining("EAGAIN") })
      writeFileSync(`${own}/${file}`, "max")
    }
    const lacking = tryCgroups(own, [["memory.max", "1"]])
    expect(lacking).toMatchObject({ is: "unusable", hint: expect.stringContaining(`${own}/cgroup.controllers`) })
    expect(tryCgroups(own)).toEqual({ is: "usable", mount: own })
  } finally {
    rmdirSync(`${own}/banger`)
    rmdirSync(own)
  }
})
