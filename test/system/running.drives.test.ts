import { expect, test } from "bun:test"
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { GUESTS } from "../contract/guests.ts"
import { pairs } from "../real.ts"
import { banger, type Ended, fixture, type Running, start, until, wasKilled } from "./support/banger.ts"
import { doublesOfFile } from "./support/doubles.ts"
import { eachInItsPlace, type Place, processesOf, records } from "./support/place.ts"

// A drive of a running VM is given another image, on the double and on the real Firecracker.

const doubles = doublesOfFile()
const place = eachInItsPlace()

type Call = readonly [name: string, ...args: unknown[]]

/** Which of the two a test runs on. */
interface Kind {
  readonly name: "double" | "real"
  readonly env: () => Record<string, string>
}
// The doubles are built only before the first test.
const KINDS: readonly Kind[] = pairs(doubles).map(([name, pair]) => ({ name, env: () => ({ ...pair.env }) }))

function kernelIn(dir: string): string {
  const path = join(dir, "vmlinux")
  writeFileSync(path, GUESTS.kernel ?? "", { mode: 0o644 })
  return path
}

function image(dir: string, name: string, size: number, mark: string): string {
  const path = join(dir, name)
  writeFileSync(path, Buffer.alloc(size, mark))
  return path
}

const wordsOf = (at: Place, spec: object, calls: readonly Call[]) => [
  ...["run", fixture("changing"), "--", kernelIn(at.dir), JSON.stringify(spec), JSON.stringify(calls)],
]
const run = (kind: Kind, spec: object, calls: readonly Call[]): Running =>
  start(place, wordsOf(place, spec, calls), kind.env())

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
    const odd = image(place.dir, "odd.img", 700, "p")
    const drives = [{ path: old, id: "data" }, { path: old, readonly: true, id: "ro" }, { path: old }]
    const running = run(kind, { drives }, [
      ["drives.replace", "data", fresh],
      ["drives.replace", "ro", other],
      ["drives.replace", "disk2", odd],
      ["drives.update", "data", { rate_limiter: { ops: { size: 10, refill_time: 100 } } }],
    ])
    await running.shows("fc: changed")
    const root = rootOf()
    expect(disksOf(root)).toEqual(["disk0", "disk1", "disk2"])
    expect(readFileSync(join(root, "disk0"))).toEqual(readFileSync(fresh))
    expect(readFileSync(join(root, "disk1"))).toEqual(readFileSync(other))
    // A private copy is padded, as at the start.
    expect(readFileSync(join(root, "disk2"), "latin1")).toBe("p".repeat(700).padEnd(4096, "\0"))
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
    const running = run(kind, { drives: [{ path: old, id: "data" }] }, [
      ["drives.replace", "dat", old],
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
    await running.shows("fc: changed")
    const root = rootOf()
    expect(disksOf(root)).toEqual(["disk0"])
    expect(await told(root)).toEqual({ data: "/disk0" })
    const { stderr } = await ends(running)
    expect(stderr.split("\n").flatMap((line) => line.match(/refused: (.*)/)?.[1] ?? [])).toEqual([
      'ctx.drives.replace: no drive is called "dat"; did you mean data?',
      `ctx.drives.replace: drives.data: ${place.dir}/empty.img is empty`,
      `ctx.drives.replace: there is no file ${place.dir}/nowhere`,
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

  test(`${kind.name}: without a jail the drive is the image itself, which must be whole sectors`, async () => {
    const [old, fresh] = [image(place.dir, "old.img", 4096, "o"), image(place.dir, "fresh.img", 8192, "f")]
    const running = run(kind, { jail: false, drives: [{ path: old, id: "data" }] }, [
      ["drives.replace", "data", image(place.dir, "odd.img", 700, "x")],
      ["drives.replace", "data", fresh],
    ])
    await running.shows("fc: changed")
    const socket = join(place.runtime, records(place)[0]?.id ?? "")
    expect(await told(socket)).toEqual({ data: fresh })
    const { stderr } = await ends(running)
    expect(stderr).toContain("odd.img is no whole number of 512-byte sectors")
    expect(readFileSync(fresh, "utf8")).toBe("f".repeat(8192))
  })

  test(`${kind.name}: on a PCI bus drives come and go, and their files with them`, async () => {
    const [old, more] = [image(place.dir, "old.img", 4096, "o"), image(place.dir, "more.img", 700, "m")]
    const spec = {
      drives: [
        { path: old, id: "root", root: true },
        { path: old, id: "data" },
      ],
      firecracker: { pci: true },
    }
    const running = run(kind, spec, [
      ["drives.add", { id: "more", path: more }],
      ["drives.add", { id: "gone", path: old, readonly: true }],
      ["drives.add", { id: "more", path: old }],
      ["drives.add", { id: "a-b", path: old }],
      ["drives.add", { id: "x", path: join(place.dir, "nowhere") }],
      ["drives.add", { id: "x", path: "old.img" }],
      ["drives.add", { id: "x", path: old, root: true }],
      ["drives.remove", "gone"],
      ["drives.remove", "gone"],
      ["drives.remove", "root"],
      ["drives.remove", "data"],
      ["drives.replace", "more", old],
      ["snapshot", join(place.dir, "saved")],
    ])
    await running.shows("fc: changed")
    const root = rootOf()
    const staged = () => readdirSync(root).filter((name) => /^(?:disk|plugged)/.test(name))
    const paths = await told(root)
    expect(paths).toEqual({ root: "/disk0", more: expect.stringMatching(/^\/plugged-more\.[0-9a-f]{8}$/) })
    expect(staged().sort()).toEqual(["disk0", paths.more?.slice(1) ?? ""])
    expect(readFileSync(join(root, paths.more ?? ""))).toEqual(readFileSync(old))
    expect(records(place)[0]?.handles).not.toContain("changing")
    const { stderr } = await ends(running)
    expect(stderr.split("\n").flatMap((line) => line.match(/refused: (.*)/)?.[1] ?? [])).toEqual([
      "ctx.drives.add: a drive is called more already",
      "ctx.drives.add: id: a-z, 0-9 and _, at most 20 long",
      `ctx.drives.add: there is no file ${place.dir}/nowhere`,
      'ctx.drives.add: "old.img" is not an absolute path',
      "ctx.drives.add: root: unknown",
      'ctx.drives.remove: no drive is called "gone"',
      expect.stringContaining("drives.root: Firecracker refused it: Cannot unplug root device"),
      expect.stringContaining("drive more was added while the VM ran, and cannot be saved"),
    ])
  })

  test(`${kind.name}: without a PCI bus no drive comes or goes`, async () => {
    const old = image(place.dir, "old.img", 4096, "o")
    const running = run(kind, { drives: [{ path: old, id: "data" }] }, [
      ["drives.add", { id: "more", path: old }],
      ["drives.remove", "data"],
    ])
    await running.shows("fc: changed")
    expect(await told(rootOf())).toEqual({ data: "/disk0" })
    const { stderr } = await ends(running)
    expect(stderr).toContain("refused: ctx.drives.add: the guest has no PCI bus to plug drives into")
    expect(stderr).toContain("refused: ctx.drives.remove: the guest has no PCI bus to plug drives into")
  })

  test(`${kind.name}: a snapshot has the drive's new image, and goes on from it`, async () => {
    const [old, fresh] = [image(place.dir, "old.img", 4096, "o"), image(place.dir, "fresh.img", 8192, "f")]
    const saved = join(place.dir, "saved")
    const spec = { drives: [{ path: old, id: "data" }] }
    const running = run(kind, spec, [["drives.replace", "data", fresh]])
    await running.shows("fc: changed")
    expect(await banger(place, ["snapshot", "fc", saved])).toMatchObject({ exit: 0 })
    await ends(running)
    expect(readFileSync(join(saved, "disk0"))).toEqual(readFileSync(fresh))
    const [, file = "", ...rest] = wordsOf(place, spec, [])
    const again = start(place, ["run", file, "--restore", saved, ...rest], kind.env())
    await again.shows("fc: changed")
    expect(await told(rootOf())).toEqual({ data: "/disk0" })
    expect(readFileSync(join(rootOf(), "disk0"))).toEqual(readFileSync(fresh))
    await ends(again)
  })

  const [old, fresh] = ["o".repeat(4096), "f".repeat(8192)]
  test.each([
    ["replaced", [["drives.replace", "data", "fresh.img"]], { data: [old, fresh] }],
    ["added", [["drives.add", { id: "more", path: "fresh.img" }]], { data: [old], more: [undefined, fresh] }],
    ["removed", [["drives.remove", "data"]], { data: [old, undefined] }],
  ] as const)(
    `${kind.name}: killed at every moment while a drive is %s, the VM has it whole or not, and nothing else is left`,
    async (_, calls, may) => {
      const program = join(import.meta.dir, "../fixtures/killChanges.ts")
      const path = image(place.dir, "old.img", 4096, "o")
      image(place.dir, "fresh.img", 8192, "f")
      const list = join(place.dir, "moments")
      const absolute = JSON.parse(JSON.stringify(calls).replace("fresh.img", join(place.dir, "fresh.img")))
      const spec = { drives: [{ path, id: "data" }], firecracker: { pci: true } }
      const begin = (at: number) =>
        start(
          place,
          wordsOf(place, spec, absolute),
          { ...kind.env(), BANGER_TEST_KILL_AT: String(at), ...(at === 0 ? { BANGER_TEST_MOMENTS: list } : {}) },
          { through: [process.execPath, program], self: false },
        )
      writeFileSync(list, "")
      const whole = begin(0)
      await whole.shows("fc: changed")
      await ends(whole)
      const moments = readFileSync(list, "utf8").trimEnd().split("\n")
      expect(moments.length).toBeGreaterThan(5)
      const found = new Set<string>()
      let [triedCount, killedCount] = [0, 0]
      // On the real one a few moments are enough.
      const step = kind.name === "real" ? 4 : 1
      for (let at = 1; at <= moments.length; at += step) {
        const label = `${at}: before ${moments[at - 1]}`
        triedCount++
        if (!(await wasKilled(begin(at), "fc: changed", label))) continue
        killedCount++
        expect((await banger(place, ["sweep"])).exit, label).toBe(0)
        const root = rootOf()
        const paths = await told(root)
        const staged = readdirSync(root).filter((name) => /^(?:disk|plugged)/.test(name))
        expect(staged.map((name) => `/${name}`).sort(), label).toEqual(Object.values(paths).sort())
        expect(records(place)[0]?.handles, label).not.toContain("changing")
        for (const [id, texts] of Object.entries(may)) {
          const text = paths[id] === undefined ? undefined : readFileSync(join(root, paths[id]), "utf8")
          expect(texts as readonly unknown[], label).toContain(text)
          found.add(`${id} ${text?.[0]}`)
        }
        expect((await banger(place, ["stop", "fc"])).exit, label).toBe(0)
        await until(() => processesOf(place).length === 0)
      }
      expect(killedCount).toBeGreaterThan(triedCount / 2)
      expect(found.size).toBe(Object.values(may).flat().length)
    },
    300_000,
  )
}
