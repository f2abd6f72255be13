import { expect, test } from "bun:test"
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { GUESTS } from "../contract/guests.ts"
import { findReal } from "../real.ts"
import { banger, type Ended, fixture, type Running, start, until } from "./support/banger.ts"
import { doublesOfFile, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, type Place, processesOf, records } from "./support/place.ts"

// A drive of a running VM is given another image, on the double and on the real Firecracker.

const doubles = doublesOfFile()
const place = eachInItsPlace()
const real = findReal()
if (typeof real === "string") console.log(`running.drives: on the double only: ${real}`)

type Call = readonly [name: string, ...args: unknown[]]

/** What a test runs on: `doubles` are built only before the first test. */
interface Kind {
  readonly name: string
  readonly env: () => Record<string, string>
  readonly kernel: (dir: string) => string
}
const KINDS: readonly Kind[] = [
  { name: "double", env: () => ({ ...doubles.env }), kernel: (dir) => kernelOf(dir, "PRINT[up]") },
  ...(typeof real === "string"
    ? []
    : [
        {
          name: "real",
          env: () => ({ PATH: `${join(real.firecracker, "..")}:${process.env.PATH}` }),
          kernel(dir: string) {
            const path = join(dir, "vmlinux")
            writeFileSync(path, GUESTS.kernel ?? "", { mode: 0o644 })
            return path
          },
        },
      ]),
]

function image(dir: string, name: string, size: number, mark: string): string {
  const path = join(dir, name)
  writeFileSync(path, Buffer.alloc(size, mark))
  return path
}

const wordsOf = (kind: Kind, at: Place, spec: object, calls: readonly Call[]) => [
  ...["run", fixture("changing"), "--", kind.kernel(at.dir), JSON.stringify(spec), JSON.stringify(calls)],
]
const run = (kind: Kind, spec: object, calls: readonly Call[]): Running =>
  start(place, wordsOf(kind, place, spec, calls), kind.env())

const rootOf = (at: Place = place) => join(at.state, "jail/firecracker", records(at)[0]?.id ?? "", "root")
const disksOf = (root: string) =>
  readdirSync(root)
    .filter((name) => name.startsWith("disk"))
    .sort()

/** Where Firecracker itself says that its drives are. */
async function told(root: string): Promise<Record<string, string>> {
  const reply = await fetch("http://api/vm/config", { unix: join(root, "api.sock") })
  const { drives } = (await reply.json()) as { drives: { drive_id: string; path_on_host: string }[] }
  return Object.fromEntries(drives.map(({ drive_id, path_on_host }) => [drive_id, path_on_host]))
}

/** The inodes that a process holds open. */
function openFiles(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const path = `/proc/${pid}/fd/${fd}`
      return readlinkSync(path).startsWith("/") ? [statSync(path).ino] : []
    } catch {
      return []
    }
  })
}

async function ends(running: Running): Promise<Ended> {
  running.signal("SIGINT")
  const ended = await running.ended
  expect(ended.stderr).toContain("postStop: guest reset")
  return ended
}

for (const kind of KINDS) {
  test(`${kind.name}: drives get other images, one bound before too; the VM has these, and their names; nothing else is left`, async () => {
    const [old, fresh, other] = [
      image(place.dir, "old.img", 4096, "o"),
      image(place.dir, "fresh.img", 8192, "f"),
      image(place.dir, "other.img", 1536, "x"),
    ]
    const drives = [{ path: old, id: "data" }, { path: old, readonly: true, id: "ro" }, { path: old }]
    const running = run(kind, { drives }, [
      ["drives.replace", "data", fresh],
      ["drives.replace", "ro", other],
      ["drives.update", "data", { rate_limiter: { ops: { size: 10, refill_time: 100 } } }],
    ])
    await running.shows("changed")
    const root = rootOf()
    expect(disksOf(root)).toEqual(["disk0", "disk1", "disk2"])
    expect(readFileSync(join(root, "disk0"))).toEqual(readFileSync(fresh))
    expect(readFileSync(join(root, "disk1"))).toEqual(readFileSync(other))
    expect(readFileSync(join(root, "disk2"))).toEqual(readFileSync(old))
    expect(statSync(join(root, "disk0"))).toMatchObject({ uid: statSync(root).uid, nlink: 1 })
    expect(statSync(join(root, "disk0")).mode & 0o7777).toBe(0o600)
    expect(readFileSync(old, "utf8")).toBe("o".repeat(4096))
    expect(await told(root)).toEqual({ data: "/disk0", ro: "/disk1", disk2: "/disk2" })
    expect(records(place)[0]?.handles).not.toContain("changing")
    if (kind.name === "real") {
      const held = openFiles(processesOf(place)[0] ?? 0)
      for (const name of ["disk0", "disk1", "disk2"]) expect(held).toContain(statSync(join(root, name)).ino)
      expect(held).not.toContain(statSync(old).ino)
    }
    expect((await ends(running)).stderr).not.toContain("refused")
  })

  test(`${kind.name}: what is refused leaves the drive, the jail and the journal as they were`, async () => {
    const old = image(place.dir, "old.img", 4096, "o")
    const odd = image(place.dir, "odd.img", 700, "x")
    const running = run(kind, { drives: [{ path: old, id: "data" }] }, [
      ["drives.replace", "dat", old],
      ["drives.replace", "data", odd],
      ["drives.replace", "data", image(place.dir, "empty.img", 0, "x")],
      ["drives.replace", "data", join(place.dir, "nowhere")],
      ["drives.replace", "data", place.dir],
      ["drives.replace", "data", "relative.img"],
      ["drives.replace", 7, old],
      ["drives.update", "data", {}],
      ["drives.update", "data", { rate_limiter: { ops: { size: -1, refill_time: 1 } } }],
      ["drives.update", "data", { rate_limiter: {}, cache_type: "Unsafe" }],
      ["network.update", {}],
      ["network.update", { rx_rate_limiter: {} }],
    ])
    await running.shows("changed")
    const root = rootOf()
    expect(disksOf(root)).toEqual(["disk0"])
    expect(await told(root)).toEqual({ data: "/disk0" })
    const { stderr } = await ends(running)
    expect(stderr.split("\n").flatMap((line) => line.match(/refused: (.*)/)?.[1] ?? [])).toEqual([
      'ctx.drives.replace: no drive is called "dat"; did you mean data?',
      `ctx.drives.replace: ${odd} has 700 bytes, which are not whole sectors of 512: the guest would not see its end`,
      `ctx.drives.replace: ${place.dir}/empty.img is empty`,
      expect.stringContaining("nowhere"),
      `ctx.drives.replace: ${place.dir} is not a regular file`,
      'ctx.drives.replace: "relative.img" is not an absolute path',
      "ctx.drives.replace: 7 is not a drive's id",
      "ctx.drives.update: rate_limiter: missing",
      "ctx.drives.update: rate_limiter.ops.size: a whole number from 0 on",
      "ctx.drives.update: cache_type: unknown",
      "ctx.network.update: nothing is to change",
      "ctx.network.update: the guest has no network card on a tap",
    ])
  })

  test(`${kind.name}: a snapshot has the drive's new image, and goes on from it`, async () => {
    const [old, fresh] = [image(place.dir, "old.img", 4096, "o"), image(place.dir, "fresh.img", 8192, "f")]
    const saved = join(place.dir, "saved")
    const spec = { drives: [{ path: old, id: "data" }] }
    const running = run(kind, spec, [["drives.replace", "data", fresh]])
    await running.shows("changed")
    expect(await banger(place, ["snapshot", "fc", saved])).toMatchObject({ exit: 0 })
    await ends(running)
    expect(readFileSync(join(saved, "disk0"))).toEqual(readFileSync(fresh))
    const [, file = "", ...rest] = wordsOf(kind, place, spec, [])
    const again = start(place, ["run", file, "--restore", saved, ...rest], kind.env())
    await again.shows("changed")
    expect(await told(rootOf())).toEqual({ data: "/disk0" })
    expect(readFileSync(join(rootOf(), "disk0"))).toEqual(readFileSync(fresh))
    await ends(again)
  })

  test(`${kind.name}: killed at every moment of a change, the VM goes on with one of both images whole, and nothing is left`, async () => {
    const program = join(import.meta.dir, "../fixtures/killChanges.ts")
    const [old, fresh] = [image(place.dir, "old.img", 4096, "o"), image(place.dir, "fresh.img", 8192, "f")]
    const list = join(place.dir, "moments")
    const begin = (at: number) =>
      start(
        place,
        wordsOf(kind, place, { drives: [{ path: old, id: "data" }] }, [["drives.replace", "data", fresh]]),
        { ...kind.env(), BANGER_TEST_KILL_AT: String(at), ...(at === 0 ? { BANGER_TEST_MOMENTS: list } : {}) },
        { through: [process.execPath, program], self: false },
      )
    writeFileSync(list, "")
    const whole = begin(0)
    await whole.shows("changed")
    await ends(whole)
    const moments = readFileSync(list, "utf8").trimEnd().split("\n")
    expect(moments.length).toBeGreaterThan(10)
    const found: string[] = []
    // On the real one a few moments of each kind are enough.
    const step = kind.name === "real" ? 3 : 1
    for (let at = 1; at <= moments.length; at += step) {
      const label = `${at}: before ${moments[at - 1]}`
      expect((await begin(at).ended).exit, label).toBe(null)
      expect((await banger(place, ["sweep"])).exit, label).toBe(0)
      const root = rootOf()
      expect(disksOf(root), label).toEqual(["disk0"])
      expect(await told(root), label).toEqual({ data: "/disk0" })
      expect(records(place)[0]?.handles, label).not.toContain("changing")
      const text = readFileSync(join(root, "disk0"), "utf8")
      expect(["o".repeat(4096), "f".repeat(8192)], label).toContain(text)
      found.push(`${label}: ${text[0]}`)
      expect((await banger(place, ["stop", "fc"])).exit, label).toBe(0)
      await until(() => processesOf(place).length === 0)
    }
    console.log(found.join("\n"))
    expect(found.some((line) => line.endsWith("o")) && found.some((line) => line.endsWith("f"))).toBe(true)
  }, 400_000)
}
