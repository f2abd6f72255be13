import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"

const root = join(import.meta.dir, "..")

const GROUND = ["store/files", "base/linux", "base/terms"]
const DISK = ["store/state", "store/kept", ...GROUND]
const DISKS = ["store/disks", ...DISK]
const INPUTS = ["inputs/plugin", "inputs/schema"]
const VM_AND_BELOW = ["vm", "host/process", "host/vmm", ...INPUTS, ...DISKS]

/** From each room, the rooms below it that it may import from; cli.ts is in the room `cli`. Upper rooms come first. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  cli: ["supervisor/rest", "host/systemd", "base/linux", "cli/commands", "cli/show", "cli/terminal", "base/terms"],
  "cli/commands": [
    ...[
      "operations/helper",
      "operations/sudo",
      "operations",
      "operations/run",
      "operations/end",
      "upkeep/metrics",
      "upkeep/sweep",
      "upkeep/system",
      "upkeep/leftovers",
      "upkeep/doctor",
      "supervisor",
    ],
    ...[
      "supervisor/boot",
      "supervisor/changes",
      "supervisor/rest",
      "supervisor/snapshot",
      "vm",
      "host/kvm",
      "host/process",
      "inputs/image",
      "inputs/download",
      "inputs/starter",
    ],
    ...[...INPUTS, "store/state", "cli/show", "cli/terminal", "base/terms"],
  ],
  "cli/show": [
    "operations",
    "operations/run",
    "vm",
    "upkeep/sweep",
    "upkeep/doctor",
    "inputs/image",
    "store/disks",
    "store/state",
    "cli/terminal",
    "base/terms",
  ],
  "operations/helper": [
    ...[
      "operations",
      "operations/run",
      "supervisor",
      "supervisor/hooks",
      "vm",
      "host/process",
      "inputs/helper",
      "inputs/plugin",
    ],
    ...["inputs/schema", ...DISK],
  ],
  "operations/sudo": [
    ...[
      "operations",
      "operations/run",
      "operations/keyboard",
      "supervisor/hooks",
      "vm",
      "host/process",
      "inputs/kernel",
      "inputs/helper",
      "inputs/plugin",
      "store/logs",
      ...DISK,
    ],
  ],
  operations: [
    ...[
      "operations/run",
      "operations/keyboard",
      "operations/end",
      "upkeep/leftovers",
      "supervisor",
      "supervisor/boot",
      "supervisor/hooks",
      "supervisor/rest",
      "supervisor/snapshot",
    ],
    ...["host/bridge", "host/cgroup", "host/network", "host/systemd", "store/logs", ...VM_AND_BELOW],
  ],
  "operations/run": [
    ...[
      "operations/keyboard",
      "operations/end",
      "supervisor",
      "supervisor/boot",
      "supervisor/hooks",
      "supervisor/rest",
      "supervisor/snapshot",
    ],
    ...["host/systemd", "store/logs", ...VM_AND_BELOW],
  ],
  "operations/keyboard": ["supervisor/hooks", "store/state", "base/linux", "base/terms"],
  "operations/end": ["supervisor", "supervisor/hooks", "supervisor/rest", ...VM_AND_BELOW],
  "upkeep/metrics": ["upkeep/sweep", "upkeep/leftovers", "vm", "host/process", ...DISK],
  "upkeep/sweep": [
    ...["upkeep/leftovers", "supervisor", "supervisor/hooks", "vm", "host/process", "host/sockets", "inputs/plugin"],
    ...["store/logs", ...DISK],
  ],
  "upkeep/system": GROUND,
  "upkeep/leftovers": [
    "vm",
    "host/bridge",
    "host/cgroup",
    "host/firewall",
    "host/jail",
    "host/network",
    "host/process",
    "host/search",
    ...DISKS,
  ],
  "upkeep/doctor": [
    "supervisor/boot",
    "host/cgroup",
    "host/firewall",
    "host/kvm",
    "host/network",
    "host/process",
    "host/sockets",
    "host/vmm",
    "inputs/schema",
    ...DISKS,
  ],
  supervisor: [
    ...[
      "supervisor/boot",
      "supervisor/changes",
      "supervisor/hooks",
      "supervisor/keep",
      "supervisor/rest",
      "supervisor/snapshot",
      "host/cgroup",
      "host/dhcp",
      "host/firecracker",
      "host/jail",
      "host/qemu",
      "host/systemd",
    ],
    ...["store/logs", ...VM_AND_BELOW],
  ],
  "supervisor/boot": [
    ...[
      "supervisor/hooks",
      "supervisor/snapshot",
      "host/bridge",
      "host/cgroup",
      "host/dhcp",
      "host/firecracker",
      "host/jail",
      "host/kvm",
    ],
    ...[
      "host/network",
      "host/qemu",
      "host/search",
      "host/sockets",
      "inputs/image",
      "inputs/kernel",
      "store/logs",
      ...VM_AND_BELOW,
    ],
  ],
  "supervisor/keep": ["vm", "host/kept", ...DISK],
  "supervisor/hooks": ["vm", "host/systemd", "inputs/plugin", ...DISK],
  "supervisor/rest": [
    "inputs/plugin",
    "supervisor/hooks",
    "host/dhcp",
    "host/firecracker",
    "host/qemu",
    "host/process",
    "vm",
    "store/logs",
    ...DISK,
  ],
  "supervisor/snapshot": ["supervisor/changes", "host/firecracker", ...VM_AND_BELOW],
  "supervisor/changes": [
    "host/bridge",
    "host/cgroup",
    "host/firecracker",
    "host/jail",
    "host/network",
    ...VM_AND_BELOW,
  ],
  vm: [
    ...["host/bridge", "host/cgroup", "host/firecracker", "host/firewall", "host/jail", "host/kept"],
    ...["host/network", "host/process"],
    ...["host/search", "host/vmm", "inputs/schema", "store/logs", ...DISKS],
  ],
  "host/bridge": ["host/network", ...DISK],
  "host/cgroup": DISK,
  "host/dhcp": GROUND,
  "host/firecracker": ["host/vmm", "inputs/schema", ...DISK],
  "host/jail": DISK,
  "host/kept": DISK,
  "host/kvm": ["host/process", ...DISK],
  "host/network": ["host/firewall", ...DISK],
  "host/firewall": DISK,
  "host/process": DISK,
  "host/qemu": ["host/vmm", ...DISK],
  "host/search": ["host/process", ...DISK],
  "host/sockets": DISK,
  "host/systemd": ["host/process", ...DISK],
  "host/vmm": ["inputs/schema", ...DISK],
  "inputs/plugin": ["inputs/packages", "inputs/schema", "base/linux", "base/terms"],
  "inputs/packages": ["base/terms"],
  "inputs/starter": ["base/linux", "base/terms"],
  "inputs/helper": ["inputs/schema", "base/terms"],
  "inputs/schema": ["base/terms"],
  "inputs/image": ["inputs/download", ...DISK],
  "inputs/kernel": GROUND,
  "inputs/download": ["store/files", "base/linux", "base/terms"],
  "cli/terminal": ["base/linux", "base/terms"],
  "store/disks": DISK,
  "store/logs": GROUND,
  "store/state": ["store/kept", ...GROUND],
  "store/kept": [],
  "store/files": ["base/linux", "base/terms"],
  "base/linux": [],
  "base/terms": [],
}

/** Folders that are lists of like things: a command, a verb, a family of system calls each file. */
const LISTS = ["cli/commands", "operations", "base/linux"]

const sources = ["cli.ts", ...new Bun.Glob("src/**/*.ts").scanSync(root)].sort()
const roomOf = (path: string) => (path === "cli.ts" ? "cli" : dirname(path).replace(/^src\/?/, ""))
const rooms = new Map(Map.groupBy(sources, roomOf))

/** Every module a file names in an import or export, types included, comments left out. */
function importsOf(path: string): readonly string[] {
  const text = readFileSync(join(root, path), "utf8").replace(/^\s*(?:\/\/|\/?\*).*$/gm, "")
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g)].map(([, name = ""]) => name)
}

/** The files of this repository that a file imports. */
function targetsOf(path: string): readonly string[] {
  return importsOf(path)
    .filter((name) => name.startsWith("."))
    .map((name) => relative(root, join(root, dirname(path), name)))
    .filter((target) => target.startsWith("src/") || target === "cli.ts")
}

/** The first circle of imports there is, its files in order; undefined when there is none. */
function findCircle(importing: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): readonly string[] | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path]
    if (done.has(path)) return undefined
    for (const target of importing.get(path) ?? []) {
      const circle = visit(target, [...trail, path])
      if (circle !== undefined) return circle
    }
    done.add(path)
    return undefined
  }
  for (const path of importing.keys()) {
    const circle = visit(path, [])
    if (circle !== undefined) return circle
  }
  return undefined
}

const ADVICE = {
  arrow: `A room imports only from the rooms that ARROWS names for it, all below it. Move what is needed down into the room that
both may import, or hand it down as an argument; a new arrow goes into ARROWS only if it points down.`,
  circle: `These files import one another. Put what both need (most often a type) into a file of its own that both import, or
give one of them what it needs as an argument.`,
  room: `src has at most nine doors, a door may have rooms, and a room has no rooms. Put the file into the room whose job it
is, and name that room in ARROWS and in docs/design.md.`,
  size: `A room that no reader can survey is two rooms. Split it by job, and name both in ARROWS and in docs/design.md.`,
}

/** Fails with what was found and what to do instead. */
function expectNone(wrong: readonly string[], advice: string): void {
  if (wrong.length > 0) throw new Error(`${wrong.join("\n")}\n${advice}`)
}

test("rooms import only along the arrows, never up", () => {
  const wrong = sources.flatMap((path) =>
    targetsOf(path)
      .filter((target) => roomOf(target) !== roomOf(path) && !ARROWS[roomOf(path)]?.includes(roomOf(target)))
      .map((target) => `${path} imports ${target}`),
  )
  expectNone(wrong, ADVICE.arrow)
})

test("no files import one another in a circle, nor do rooms", () => {
  const files = findCircle(new Map(sources.map((path) => [path, targetsOf(path)])))
  expectNone(files === undefined ? [] : [files.join(" → ")], ADVICE.circle)
  const arrows = findCircle(new Map(Object.entries(ARROWS)))
  expectNone(arrows === undefined ? [] : [arrows.join(" → ")], ADVICE.arrow)
})

test("a circle is seen", () => {
  const importing = { a: ["b"], b: ["c", "d"], c: [], d: ["b"] }
  expect(findCircle(new Map(Object.entries(importing)))).toEqual(["b", "d", "b"])
})

test("there are at most nine doors, and every file is in a room", () => {
  const doors = new Set([...rooms.keys()].map((room) => room.split("/")[0]))
  expect(doors.size).toBeLessThanOrEqual(9)
  expectNone(
    [...rooms.keys()].filter((room) => ARROWS[room] === undefined || room.split("/").length > 2),
    ADVICE.room,
  )
  expect(Object.keys(ARROWS).filter((room) => !rooms.has(room))).toEqual([])
})

test("a room can be surveyed: some fifteen files, and 2,000 lines", () => {
  const lines = (path: string) => readFileSync(join(root, path), "utf8").split("\n").length - 1
  for (const [room, paths] of rooms) {
    const total = paths.reduce((sum, path) => sum + lines(path), 0)
    if (room !== "base/linux" && total > 2000) throw new Error(`${room} has ${total} lines\n${ADVICE.size}`)
    if (!LISTS.includes(room) && paths.length > 16) throw new Error(`${room} has ${paths.length} files\n${ADVICE.size}`)
  }
})

test("the check sees imports at all", () => {
  expect(importsOf("src/supervisor/boot/chooseVmm.ts")).toContain("../../host/qemu/qemu.ts")
  expect(importsOf("src/cli/tree.ts")).toContain("./commands/run.ts")
})

test("only base/linux calls into libc", () => {
  const users = sources.filter((path) => importsOf(path).includes("bun:ffi"))
  expect(users.map(roomOf)).toEqual(users.map(() => "base/linux"))
  expect(users).not.toEqual([])
})

const CHANGES = /^(?:l?chmod|l?chown|link|mkdtemp|rename|rm|rmdir|symlink|truncate|unlink|l?utimes)(?:Sync)?$/

/** What a text takes from Node's file system modules, or uses of Bun's, that changes what a path leads to. */
function changesByPath(text: string): readonly string[] {
  const imports = text.matchAll(/import (?!type )(.*?) from "(?:node:)?(?:fs|fs\/promises|child_process)"/gs)
  const names = [...imports].flatMap(([, list = ""]) =>
    list.startsWith("{")
      ? list
          .slice(1, -1)
          .split(",")
          .map((name) => name.trim().split(" ")[0] ?? "")
      : [`all: ${list}`],
  )
  const others = text.match(/\bBun\.\$|\bBun\.file\([^)]*\)\.(?:delete|unlink)\(/g) ?? []
  return [
    ...names.filter((name) => CHANGES.test(name) || name.startsWith("all: ") || /^(?:exec|spawn|fork)/.test(name)),
    ...others,
  ]
}

test("one gate: what owns, renames, links, removes or mounts is done by src/base/linux alone, by descriptor", () => {
  const code = (path: string) => readFileSync(join(root, path), "utf8")
  const others = sources.filter((path) => roomOf(path) !== "base/linux")
  expect(others.flatMap((path) => changesByPath(code(path)).map((what) => `${path}: ${what}`))).toEqual([])
  // The calls of src/base/linux take a directory's descriptor, or one of the thing itself; none but these take a path.
  const linux = sources.filter((path) => roomOf(path) === "base/linux").map(code)
  const symbols = [...(linux.find((text) => text.includes("SYMBOLS = {"))?.matchAll(/^ {2}(\w+): \{ args/gm) ?? [])]
  const byPath = ["chmod", "chown", "lchown", "link", "mount", "rename", "rmdir", "symlink", "umount", "unlink"]
  expect(symbols.map(([, name = ""]) => name).filter((name) => byPath.includes(name))).toEqual([])
  expect(symbols.length).toBeGreaterThan(30)
})

test("the gate sees what it is there for", () => {
  for (const text of [
    'import { rmSync } from "node:fs"',
    'import { readFile, unlink as gone } from "node:fs/promises"',
    'import * as fs from "fs"',
    'import { spawn } from "node:child_process"',
    "await Bun.file(path).delete()",
    "Bun.$`rm x`",
  ])
    expect(changesByPath(text), text).not.toEqual([])
  expect(changesByPath('import { readFileSync, openSync } from "node:fs"')).toEqual([])
})

test("files are small, and nothing in them is left for later", () => {
  for (const path of sources) {
    const text = readFileSync(join(root, path), "utf8")
    // The types of a plugin are one file, which banger init writes.
    expect(text.split("\n").length, path).toBeLessThan(path.endsWith(".d.ts") ? 800 : 400)
    expect(text, path).not.toMatch(/\b(?:TODO|FIXME|XXX)\b/)
  }
})

test("banger --version loads nothing but what tells the version", () => {
  const dynamic = /import\("/
  const text = readFileSync(join(root, "cli.ts"), "utf8")
  const loaded = text.split("\n").filter((line) => /^import (?!type )/.test(line) && !dynamic.test(line))
  expect(loaded).toEqual(['import { versionText } from "./src/cli/terminal/version.ts"'])
  expect(importsOf("src/cli/terminal/version.ts")).toEqual(["../../../package.json"])
})
