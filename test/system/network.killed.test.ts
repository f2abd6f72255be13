import { Database } from "bun:sqlite"
import { afterEach, beforeEach, expect, test } from "bun:test"
import { rmSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture, start } from "./support/banger.ts"
import { doublesOfFile, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, expectNothingLeft, records } from "./support/place.ts"
import { beHost, expectNoNetwork, must, sh } from "./support/wire.ts"

const doubles = doublesOfFile()
beforeEach(() => {
  beHost()
  // Somebody's, as the tests of it need one: nothing that is killed touches it.
  must("ip", "link", "add", "br0", "type", "bridge")
  must("ip", "link", "set", "br0", "up")
})
const place = eachInItsPlace()
afterEach(() => {
  sh("ip", "link", "delete", "br0")
  expectNoNetwork()
})

const driver = join(import.meta.dir, "../fixtures/networkDriver.ts")

async function drive(work: string, dir: string, id: string, network: object, last: number) {
  const argv = [process.execPath, driver, work, dir, id, JSON.stringify(network), String(last)]
  const child = Bun.spawn(argv, { stdout: "pipe", stderr: "pipe" })
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { out, err, signal: child.signalCode }
}

test.each([
  ["tap", { ports: ["8080:80"], ipv6: true }],
  ["namespace", { netns: true }],
  ["bridge of the user's", { bridge: "br0", address: "192.0.2.7" }],
])(
  "with a %s, killed after each system call of making or of giving back: what was written down is enough to leave nothing",
  async (kind, network) => {
    const id = (step: string) => `vm-${kind.slice(0, 3)}${step.padStart(5, "0")}`
    for (const work of ["connect", "release"]) {
      if (work === "release")
        expect(await drive("connect", place.dir, id(work[0] ?? ""), network, 0)).toMatchObject({ err: "" })
      const { out, err } = await drive(work, place.dir, id(work[0] ?? ""), network, 0)
      expect(err).toBe("")
      if (work === "connect") expect((await drive("release", place.dir, id("c"), network, 0)).err).toBe("")
      forget(id(work[0] ?? ""))
      const calls = Number(out)
      expect(calls).toBeGreaterThan(work === "connect" ? 60 : 20)
      let killedCount = 0
      for (let at = 1; at <= calls; at++) {
        const vm = id(`${work[0]}${at}`)
        if (work === "release") expect((await drive("connect", place.dir, vm, network, 0)).err).toBe("")
        const how = await drive(work, place.dir, vm, network, at)
        // A list that changes while the kernel tells it is asked for again: one run makes more calls than another.
        if (how.signal === "SIGKILL") killedCount++
        else {
          expect({ at, ...how }).toMatchObject({ at, signal: null, err: "" })
          expect(Number(how.out)).toBeLessThan(at)
        }
        expect({ at, ...(await drive("release", place.dir, vm, network, 0)) }).toMatchObject({ at, err: "" })
        expectNoNetwork()
        forget(vm)
      }
      expect(killedCount).toBeGreaterThan(calls / 2)
    }
  },
  800_000,
)

test("a banger killed whenever it talks to the kernel about links: rm -f takes all of it", async () => {
  const spec = JSON.stringify({ network: { ports: ["8080:80"], netns: true } })
  const argv = ["run", fixture("firecracker"), "--", kernelOf(place.dir, "RESET"), spec]
  for (let count = 1; count < 90; count++) {
    const inject = "inject=sendto:signal=KILL:when="
    const through = ["strace", "-o", "/dev/null", "-e", "trace=sendto", "-e", `${inject}${count}`]
    const { exit, stderr } = await start(place, argv, { ...doubles.env }, { through }).ended
    if (exit === 0) return expect(count).toBeGreaterThan(30)
    expect({ count, exit, stderr }).toMatchObject({ count, exit: null })
    const removed = await banger(place, ["rm", "-f", "fc"], doubles.env)
    expect({ count, ...removed }).toMatchObject({ count, exit: 0 })
    expect(records(place)).toEqual([])
    expectNothingLeft(place)
    expectNoNetwork()
  }
  throw new Error("it was killed each time")
}, 800_000)

/** The driver's VMs have no supervisor that would remove their directory and record. */
function forget(id: string): void {
  const db = new Database(join(place.state, "state.db"))
  expect(db.query("select handles from vms where id = ?").all(id)).toEqual([{ handles: "[]" }])
  db.query("delete from vms where id = ?").run(id)
  db.close()
  rmSync(join(place.state, "vms", id), { recursive: true })
}
