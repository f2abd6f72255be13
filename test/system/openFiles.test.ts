import { expect, test } from "bun:test"
import { banger, environmentOf, fixture } from "./support/banger.ts"
import { doublesOfFile, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, supervisorsOf } from "./support/place.ts"

const doubles = doublesOfFile()
const place = eachInItsPlace()

/** However few files it may open, a command says what is right, or that it may open too few; never that a place or a VM is at fault. */
test("with few open files no command tells of a VM, or of a place, what is not so", async () => {
  const words = ["run", "--detach", fixture("firecracker"), "--", kernelOf(place.dir, "PRINT[up]")]
  expect((await banger(place, words, { ...doubles.env })).exit).toBe(0)
  const [supervisor] = supervisorsOf(place)
  // Of a few more Bun itself has need, and says so in its own words.
  const limited = (count: number, words: readonly string[]) => {
    const command = ["sh", "-c", `ulimit -n ${count}; exec "$@"`, "sh", ...place.program, ...words]
    const { stdout, stderr, exitCode } = Bun.spawnSync(command, { env: environmentOf(place) })
    return { stdout: stdout.toString(), stderr: stderr.toString(), exit: exitCode }
  }
  const told = { right: 0, few: 0 }
  for (let count = 6; count <= 30; count++) {
    for (const words of [["ps", "--json"], ["ps"], ["logs", "fc"]]) {
      const { stdout, stderr, exit } = limited(count, words)
      if (!/\bERROR\b/.test(stderr) && exit !== 0 && !stderr.startsWith("{")) continue
      if (exit === 0 && words[1] === "--json") {
        expect(JSON.parse(stdout)).toMatchObject([{ liveness: "alive", supervisor }])
        told.right++
      } else if (exit !== 0) {
        expect({ count, words, stderr }).toMatchObject({ stderr: expect.stringContaining("ulimit -n") })
        expect(stderr).not.toMatch(/another place|no place|look at it/)
        told.few++
      } else expect(stdout).not.toContain("unsupervised")
    }
  }
  expect(told.right).toBeGreaterThan(2)
  expect(told.few).toBeGreaterThan(2)
  expect((await banger(place, ["stop", "fc"])).exit).toBe(0)
})
