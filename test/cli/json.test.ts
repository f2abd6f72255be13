import { expect, test } from "bun:test"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { Failure, failureJson } from "../../src/base/terms/failure.ts"
import { failureSchema } from "../../src/base/terms/failureSchema.ts"
import { messageSchema } from "../../src/cli/show/documents.ts"
import { KEPT_FOR } from "../../src/host/sockets/report.ts"
import { eventsOf } from "../../src/operations/events.ts"
import { inspectVm } from "../../src/operations/inspect.ts"
import { waitResultOf } from "../../src/operations/wait.ts"
import { openDatabase } from "../../src/store/state/database.ts"
import { appendEvent } from "../../src/store/state/events.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { changeState, getRecord, insertRecord } from "../../src/store/state/records.ts"
import { exitSchema } from "../../src/store/state/vmState.ts"
import { neverStarted, resultJson } from "../../src/vm/exit.ts"
import { listVms } from "../../src/vm/status.ts"
import { checkDocuments, DOCUMENTS, type DocumentName, documentOf, parseDocument } from "../documents.ts"
import { type Row, rowsOf } from "../schemaRows.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const root = join(import.meta.dir, "../..")

/** Every schema by its heading in docs/json.md: those of commands, and those that several share. */
const SCHEMAS: readonly (readonly [heading: string, schema: v.GenericSchema])[] = [
  ["A failure", failureSchema],
  ["A message", messageSchema],
  ["How a VM ended", exitSchema],
  ...Object.entries(DOCUMENTS).map(([name, schema]) => [`\`${name}\``, schema] as const),
]

/** Numbers without a unit. */
const LIMITS = ["cpus", "pids", "readOps", "writeOps"]
const COUNTS = ["generation", "begun", "done", "postStop", "examined", "alive", "dead", "removed", "gone", "unknown"]
const IDS = ["pid", "supervisor", "uid", "exit", "code", "vlan"]
/** In clock ticks, as the kernel has it: its own name for it. */
const KERNELS = ["startTime"]
const UNITLESS = ["number", "guestStatus", ...COUNTS, ...LIMITS, "errors", ...KEPT_FOR, ...IDS, ...KERNELS]

test.each(SCHEMAS)("keys of %s are camelCase, and numbers say their unit", (_, schema) => {
  const rows = rowsOf(schema)
  expect(rows.length).toBeGreaterThan(0)
  expect(rows.filter(({ key }) => !/^[a-z][A-Za-z0-9]*$/.test(key))).toEqual([])
  const numbers = rows.filter(({ type }) => /\bnumber\b/.test(type) && !type.startsWith("array"))
  const bare = numbers.filter(({ key }) => !/(?:Ms|Seconds|Bytes|MiB)$/.test(key) && !UNITLESS.includes(key))
  expect(bare).toEqual([])
})

test("whether something lives has three answers everywhere, and `is` has one word for one thing", () => {
  const rows = SCHEMAS.flatMap(([heading, schema]) => rowsOf(schema).map((row) => ({ heading, ...row })))
  for (const { key, type } of rows.filter(({ key }) => key === "liveness"))
    expect({ key, type }).toEqual({ key, type: "`alive`, `dead`, `unknown`" })
  const words = rows.filter(({ key }) => key === "is").flatMap(({ type }) => type.replaceAll("`", "").split(", "))
  expect([...new Set(words)].toSorted()).toEqual([
    ...["alive", "busy", "dead", "fail", "failed", "gone", "kept", "ok", "recovered", "refused", "removed"],
    ...["supervised", "swept", "unknown", "warn"],
  ])
  expect(rows.filter(({ key }) => ["verdict", "truth", "status"].includes(key))).toEqual([])
})

const page = readFileSync(join(root, "docs/json.md"), "utf8")

function sectionOf(heading: string): string {
  const [, section = ""] = page.split(`\n## ${heading}\n`)
  return section.split("\n## ")[0] ?? ""
}

function docRows(section: string): readonly Pick<Row, "path" | "type">[] {
  return [...section.matchAll(/^\| `([^`]+)` \| (.+) \| ([^|]+) \|$/gm)].map(([, path = "", type = ""]) => ({
    path,
    type,
  }))
}

test.each(SCHEMAS)("docs/json.md has every key of %s with its type, and no other", (heading, schema) => {
  const section = sectionOf(heading)
  const listed = sectionOf("`banger ps --json`")
  // What a VM is in a list is not said twice.
  const more =
    heading === "`banger inspect`" ? docRows(listed).map(({ path, type }) => ({ path: path.slice(3), type })) : []
  if (more.length > 0) expect(section).toContain("All keys of [`banger ps --json`]")
  const told = [...more, ...docRows(section)].map(({ path, type }) => `${path}: ${type}`)
  expect(told.toSorted()).toEqual(
    rowsOf(schema)
      .map(({ path, type }) => `${path}: ${type}`)
      .toSorted(),
  )
})

test.each(SCHEMAS)("the example of %s in docs/json.md is one", (heading, schema) => {
  const [, example = ""] = /^```json\n(.*?)^```$/ms.exec(sectionOf(heading)) ?? []
  expect(example).not.toBe("")
  const name = heading.replaceAll("`", "")
  if (name in DOCUMENTS) parseDocument(name as DocumentName, example)
  else expect(v.is(schema, name === "A failure" ? JSON.parse(example).error : JSON.parse(example))).toBe(true)
})

test.each<[string, DocumentName | undefined]>([
  ["ps -a --json", "banger ps --json"],
  ["ps", undefined],
  ["ps --json --watch", undefined],
  ["run x.ts --json", "banger run --json"],
  ["run x.ts -- --json", undefined],
  ["run -d x.ts --json", "banger run --detach --json"],
  ["run x.ts --json --supervise none", "banger run --detach --json"],
  ["run --plan --json --detach x.ts", "banger run --plan --json"],
  ["restart --json x", "banger run --detach --json"],
  ["net ls --json", "banger net ls --json"],
  ["net hosts --json", "banger net hosts --json"],
  ["net rm --json bgr0", "banger net rm --json"],
  ["get ls --json", "banger get ls --json"],
  ["get x --json", "banger get --json"],
  ["get path x --json", "banger get --json"],
  ["update --check --json", "banger update --check --json"],
  ["update --json", "banger update --json"],
  ["rm --json a b", "banger stop --json"],
  ["supervise --json x", "banger run --json"],
  ["supervise --json -d x", "banger run --detach --json"],
  ["system cron --json", "banger help --json"],
  ["run --help --json", "banger help --json"],
  ["logs --events x", "banger logs --events"],
  ["inspect x", "banger inspect"],
])("banger %s prints %p", (words, name) => {
  expect(documentOf(words.split(" "))).toBe(name)
})

test("a document with another key, or without one, is none", () => {
  const step = { what: "x", ok: true }
  parseDocument("banger net check --json", JSON.stringify([step]))
  for (const wrong of [[{ ...step, age_seconds: 1 }], [{ what: "x" }]])
    expect(() => parseDocument("banger net check --json", JSON.stringify(wrong))).toThrow("banger net check --json")
})

function cli(...args: readonly string[]) {
  const places = { BANGER_STATE_DIR: join(directory.path, "state"), BANGER_RUNTIME_DIR: join(directory.path, "run") }
  const run = Bun.spawnSync([process.execPath, join(root, "cli.ts"), ...args], {
    env: { PATH: `${directory.path}:${process.env.PATH}`, ...places },
    cwd: directory.path,
  })
  return { stdout: run.stdout.toString(), stderr: run.stderr.toString(), exit: run.exitCode }
}

test.each([
  [["ps", "--json"]],
  [["doctor", "--json"]],
  [["get", "ls", "--json"]],
  [["sweep", "--json", "--dry-run"]],
  [["sweep", "--json", "--confirm", "1", "sockets", "/proc/self"]],
  [["run", "--plan", "--json", "vm.ts"]],
])("what banger %p prints is its document", (args) => {
  mkdirSync(join(directory.path, "sockets"))
  Bun.listen({ unix: join(directory.path, "sockets/a.sock"), socket: { data() {} } }).stop()
  writeFileSync(join(directory.path, "vmlinuz"), "x")
  writeFileSync(join(directory.path, "qemu-system-x86_64"), "#!/bin/sh\necho QEMU emulator version 7.2.0\n", {
    mode: 0o755,
  })
  writeFileSync(join(directory.path, "vm.ts"), 'export default { kernel: "vmlinuz", vmm: "qemu" }\n')
  const ran = cli(...args)
  expect({ stderr: ran.stderr, empty: ran.stdout === "" }).toMatchObject({ empty: false })
  checkDocuments(args, ran)
})

test("what is on record of a VM is told as documents: in lists, whole, its events, its end", async () => {
  const where = { state: join(directory.path, "state"), runtime: join(directory.path, "run") }
  const layout = vmLayout(where, "vm-1")
  mkdirSync(layout.dir, { recursive: true })
  const db = openDatabase(where.state)
  const base = { vmm: "qemu", boot_id: "x", plugin_path: "/p.ts", plugin_sha256: "x", spec: "{}" }
  insertRecord(db, { id: "vm-1", name: "vm", ...base, request: '{"args":["a"],"postStop":1,"supervised":false}' })
  const exit = neverStarted("preBoot threw: no")
  const failure = new Failure("HOOK_FAILED", "preBoot threw: no", { subject: "preBoot" })
  appendEvent(layout.events, { event: "state", state: "creating" })
  appendEvent(layout.events, { event: "hook", hook: "preBoot", durationMs: 3, ...failureJson(failure) })
  const state = { db, where, [Symbol.dispose]: () => db.close() }
  const told = async () => {
    parseDocument("banger ps --json", JSON.stringify(listVms(state, true)))
    parseDocument("banger inspect", JSON.stringify(await inspectVm(state, "vm")))
  }
  await told()
  changeState(db, "vm-1", { to: "failed", exit })
  appendEvent(layout.events, { event: "state", state: "failed", exit })
  await told()
  writeFileSync(layout.events, "cut o\n", { flag: "a" })
  const { past } = eventsOf(state, "vm")
  expect(past).toHaveLength(4)
  parseDocument("banger events", past.join("\n"))
  const lines = readFileSync(layout.events, "utf8").split("\n").slice(0, 3)
  parseDocument("banger logs --events", lines.join("\n"))
  expect(parseDocument("banger wait --json", JSON.stringify(waitResultOf(getRecord(db, "vm-1"))))).toMatchObject([
    { state: "failed", error: { code: "START_FAILED", subject: "vm-1", exit: 1 } },
  ])
  const ended = { id: "vm-1", name: "vm", exit, failure, kept: true, dir: layout.dir }
  expect(parseDocument("banger run --json", resultJson(ended))).toMatchObject([
    { state: "failed", keptForInspection: true, error: { code: "HOOK_FAILED" } },
  ])
  expect(parseDocument("banger run --json", resultJson({ ...ended, failure: undefined }))).toMatchObject([
    { state: "stopped" },
  ])
  db.run("update vms set request = 'torn', handles = 'torn'")
  parseDocument("banger inspect", JSON.stringify(await inspectVm(state, "vm")))
  db.close()
})
