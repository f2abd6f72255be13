import { expect, test } from "bun:test"
import { readDuring, readRequest } from "../../../src/inputs/helper/messages.ts"

const RUN = { id: 1, verb: "run", plugin: "/p.ts", sha256: "0".repeat(64), spec: {}, args: [], hooks: [] }

for (const message of [
  { id: 1, verb: "list" },
  { id: 2, verb: "list", all: true },
  { id: 1, verb: "inspect", vm: "web-abc12345" },
  { id: 1, verb: "logs", vm: "web", which: "console", follow: true, json: false },
  { id: 1, verb: "stop", vm: "web", timeoutMs: 1 },
  { id: 1, verb: "rm", vm: "web", force: true },
  RUN,
  { ...RUN, hooks: [["preBoot"], [], ["postStop", "preStop"]], console: true, keepOnFailure: false, replace: true },
])
  test(`${JSON.stringify(message).slice(0, 70)} is a request`, () =>
    expect(readRequest(message)).toEqual(message as never))

for (const message of [
  {},
  { verb: "list" },
  { id: 0, verb: "list" },
  { id: 1.5, verb: "list" },
  { id: "1", verb: "list" },
  { id: 2 ** 53, verb: "list" },
  { id: 1, verb: "list", more: 1 },
  { id: 1, verb: "list", all: "yes" },
  { id: 1, verb: "valueOf" },
  { id: 1, verb: "__helper" },
  { id: 1, verb: "logs", vm: "web" },
  { id: 1, verb: "logs", vm: "web", which: "console", tail: -1 },
  { id: 1, verb: "stop", vm: "-a" },
  { id: 1, verb: "stop", vm: "a/b" },
  { id: 1, verb: "stop", vm: "web", timeoutMs: 0 },
  { id: 1, verb: "stop", vm: "web", timeoutMs: 1e12 },
  { ...RUN, plugin: "p.ts" },
  { ...RUN, plugin: "/p\n.ts" },
  { ...RUN, plugin: "/p\u009b.ts" },
  { ...RUN, sha256: "0" },
  { ...RUN, spec: [] },
  { ...RUN, args: "x" },
  { ...RUN, args: Array(65).fill("") },
  { ...RUN, hooks: [["configure"]] },
  { ...RUN, hooks: Array(65).fill([]) },
  { ...RUN, uid: 0 },
])
  test(`${JSON.stringify(message).slice(0, 70)} is none`, () => expect(readRequest(message)).toBeUndefined())

for (const message of [
  { id: 2, verb: "answer", ask: 1 },
  { id: 2, verb: "answer", ask: 1, error: "x" },
  { id: 2, verb: "call", ask: 1, call: "stage.write", name: "a", part: "aGk=", last: true },
  { id: 2, verb: "interrupt", signal: "SIGINT" },
  { id: 2, verb: "keys", keys: "aGk=" },
  { id: 2, verb: "shown", bytes: 1 },
])
  test(`${JSON.stringify(message)} is said while a VM runs`, () =>
    expect(readDuring(message)).toEqual(message as never))

for (const message of [
  { id: 2, verb: "list" },
  { id: 2, verb: "answer", ask: 0 },
  { id: 2, verb: "answer", ask: 1, error: "x".repeat(9000) },
  { id: 2, verb: "call", ask: 1, call: "snapshot" },
  { id: 2, verb: "call", ask: 1, call: "stage.link" },
  { id: 2, verb: "call", ask: 1, call: "stage.copy", path: "x" },
  { id: 2, verb: "interrupt", signal: "SIGKILL" },
  { id: 2, verb: "interrupt", signal: 9 },
  { id: 2, verb: "keys", keys: "not base64" },
  { id: 2, verb: "keys", keys: "A".repeat(9000) },
  { id: 2, verb: "shown", bytes: -1 },
])
  test(`${JSON.stringify(message).slice(0, 70)} is not`, () => expect(readDuring(message)).toBeUndefined())
