import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { qemu } from "../../../src/host/qemu/qemu.ts"
import { connectQmp, type QmpEvent } from "../../../src/host/qemu/qmp.ts"
import { type Answer, fine, GREETING, serveQmp } from "../../fixtures/qmpServer.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

async function connect(greeting: string, answer: Answer) {
  const path = join(directory.path, "qmp")
  const server = serveQmp(path, greeting, answer)
  const events: QmpEvent[] = []
  const heard = Promise.withResolvers<void>()
  const qmp = await connectQmp(path, (event) => {
    events.push(event)
    heard.resolve()
  })
  return { server, qmp, events, heard: heard.promise }
}

test("a command returns what QEMU returned, with events in between", async () => {
  const { server, qmp, events } = await connect(GREETING, (command, id) =>
    command === "query-status"
      ? `{"event": "STOP", "timestamp": {}}\n{"return": {"status": "running"}, "id": ${id}}\n`
      : fine(command, id),
  )
  expect(await qmp.ready).toEqual([7, 2])
  expect(await qmp.command("query-status")).toEqual({ status: "running" })
  expect(events).toEqual([{ event: "STOP", data: {} }])
  server.stop()
})

test("QEMU's refusal comes back in its own words", async () => {
  const { server, qmp } = await connect(GREETING, (command, id) =>
    command === "send-key"
      ? `{"error": {"class": "GenericError", "desc": "no keyboard"}, "id": ${id}}\n`
      : fine(command, id),
  )
  await qmp.ready
  expect(qmp.command("send-key")).rejects.toThrow("QEMU: no keyboard")
  server.stop()
})

test("an event cut in pieces is heard once it is whole", async () => {
  const { server, qmp, events, heard } = await connect(GREETING, fine)
  await qmp.ready
  const text = '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}\n'
  for (const part of [text.slice(0, 10), text.slice(10, 40)]) {
    server.say(part)
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    expect(events).toEqual([])
  }
  server.say(text.slice(40))
  await heard
  expect(events[0]?.data.reason).toBe("guest-reset")
  server.stop()
})

test.each([
  ["something that is not QMP", "SSH-2.0-OpenSSH\r\n"],
  ["JSON of another shape", '{"QMP": 7}\r\n'],
])("%s is no greeting", async (_, greeting) => {
  const { server, qmp } = await connect(greeting, fine)
  expect(qmp.ready).rejects.toThrow("does not speak QMP")
  await qmp.closed
  server.stop()
})

test("a QEMU that goes before it has greeted, or with a command waiting, leaves nobody waiting", async () => {
  const silent = await connect("", fine)
  silent.server.hangUp()
  expect(silent.qmp.ready).rejects.toThrow("QEMU closed its control socket")
  silent.server.stop()
  await silent.qmp.closed
})

test("a command that is never answered ends with the connection", async () => {
  const { server, qmp } = await connect(GREETING, (command, id) => (command === "cont" ? undefined : fine(command, id)))
  await qmp.ready
  const waiting = qmp.command("cont")
  server.hangUp()
  expect(waiting).rejects.toThrow("QEMU closed its control socket")
  await qmp.closed
  server.stop()
})

test.each([
  ["QEMU emulator version 7.1.9", "is QEMU 7.1, which is too old: 7.2 or newer is needed"],
  ["BusyBox v1.35", "prints no version: is it QEMU?"],
])("a program that says %p is not started", async (says, why) => {
  writeFileSync(join(directory.path, "qemu-system-x86_64"), `#!/bin/sh\necho ${says}\n`, { mode: 0o755 })
  const { PATH } = process.env
  process.env.PATH = directory.path
  try {
    await expect(qemu.find({})).rejects.toThrow(why)
  } finally {
    process.env.PATH = PATH
  }
})
