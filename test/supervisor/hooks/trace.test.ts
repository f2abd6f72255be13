import { expect, test } from "bun:test"
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { requireTraceFile, startTrace, traceEvents } from "../../../src/supervisor/hooks/trace.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("a trace opens in Perfetto: complete events in microseconds", () => {
  expect(traceEvents([{ name: "hook:preBoot", start: 10, duration: 5 }], 7)).toEqual({
    traceEvents: [{ name: "hook:preBoot", ph: "X", ts: 10, dur: 5, pid: 7, tid: 1, cat: "hook" }],
  })
})

test("a trace replaces a regular file or makes a new one, and nothing else", () => {
  const at = (name: string) => join(directory.path, name)
  writeFileSync(at("regular"), "old")
  mkdirSync(at("directory"))
  symlinkSync("regular", at("link"))
  Bun.spawnSync(["mkfifo", at("fifo")])
  for (const path of [at("regular"), at("new")]) {
    requireTraceFile(path)
    startTrace().write(path)
    expect(JSON.parse(readFileSync(path, "utf8")).traceEvents).toHaveLength(1)
  }
  const names = readdirSync(directory.path)
  for (const path of [at("directory"), at("link"), at("fifo"), "/dev/null"]) {
    expect(() => requireTraceFile(path)).toThrow(`--trace ${path} is there and is not a regular file`)
    expect(() => startTrace().write(path)).toThrow("is not a regular file")
  }
  expect(() => requireTraceFile(at("regular/new"))).toThrow("cannot be written: ENOTDIR")
  expect(readdirSync(directory.path)).toEqual(names)
})
