import { expect, test } from "bun:test"
import { appendFileSync, openSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { punchHole } from "../../../src/base/linux/content.ts"
import { close } from "../../../src/base/linux/files.ts"
import { followConsole } from "../../../src/store/logs/consoleView.ts"
import { readGrowing, tailOf } from "../../../src/store/logs/growing.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const pathOf = (name: string) => join(directory.path, name)

function collected(most = Number.POSITIVE_INFINITY) {
  let text = ""
  const show = (chunk: Uint8Array) => {
    const taken = Math.min(most, chunk.length)
    text += Buffer.from(chunk.subarray(0, taken)).toString()
    return taken
  }
  return { show, text: () => text }
}

test("a file that comes late is read, and the very file is held when another takes its name", () => {
  const path = pathOf("log")
  const file = readGrowing(path)
  const { show, text } = collected()
  expect(file.drain(show)).toBe(true)
  writeFileSync(path, "one ")
  expect(file.drain(show)).toBe(true)
  renameSync(path, pathOf("moved"))
  writeFileSync(path, "another")
  appendFileSync(pathOf("moved"), "two")
  expect(file.drain(show)).toBe(true)
  file.close()
  expect(text()).toBe("one two")
})

test("what is not taken is offered again", () => {
  writeFileSync(pathOf("log"), "abcdef")
  const file = readGrowing(pathOf("log"))
  const { show, text } = collected(4)
  expect(file.drain(show)).toBe(false)
  expect(file.drain(show)).toBe(true)
  file.close()
  expect(text()).toBe("abcdef")
})

test("a hole is passed over, and a tail that begins in it begins after it", () => {
  writeFileSync(pathOf("log"), `${"x".repeat(65_536)}rest`)
  const fd = openSync(pathOf("log"), "r+")
  punchHole(fd, 0, 65_536)
  close(fd)
  for (const tail of [undefined, 1000]) {
    const file = readGrowing(pathOf("log"), tail)
    const { show, text } = collected()
    expect(file.drain(show)).toBe(true)
    file.close()
    expect(text()).toBe("rest")
  }
})

test("a tail is no longer than it was asked for, and of a file that cannot be read it is empty", () => {
  writeFileSync(pathOf("log"), "0123456789")
  expect([tailOf(pathOf("log"), 3), tailOf(pathOf("log"), 100), tailOf(pathOf("none"), 3)]).toEqual([
    "789",
    "0123456789",
    "",
  ])
  expect(tailOf(directory.path, 3)).toBe("")
})

test("a console is shown from its tail on, and as it grows", async () => {
  writeFileSync(pathOf("log"), "before after")
  const { show, text } = collected()
  const shown = followConsole(pathOf("log"), 5, show)
  expect(text()).toBe("after")
  appendFileSync(pathOf("log"), " more")
  for (let tries = 0; tries < 500 && text() !== "after more"; tries++) await Bun.sleep(10)
  shown.close()
  expect(text()).toBe("after more")
})

test.each([
  ["a\nb\nc\n", 1, "c\n"],
  ["a\nb\nc\n", 2, "b\nc\n"],
  ["a\nb\nc", 1, "c"],
  ["a\nb\n", 9, "a\nb\n"],
  ["\n\n\n", 2, "\n\n"],
  ["", 3, ""],
  ["a\n", 0, ""],
  [`a\n${"x".repeat(200_000)}\nb\n`, 2, `${"x".repeat(200_000)}\nb\n`],
])("of %j the last %i lines are shown, and what comes", (content, lines, shown) => {
  const path = pathOf("log")
  writeFileSync(path, content)
  const file = readGrowing(path, { lines })
  const { show, text } = collected()
  file.drain(show)
  expect(text()).toBe(shown)
  appendFileSync(path, "more\n")
  file.drain(show)
  expect(text()).toBe(`${shown}more\n`)
  file.close()
})

test("the last lines never reach into the hole that older ones have become", () => {
  const path = pathOf("log")
  writeFileSync(path, `${"y".repeat(1 << 20)}\nkept\n`)
  const fd = openSync(path, "r+")
  punchHole(fd, 0, 1 << 20)
  close(fd)
  const { show, text } = collected()
  readGrowing(path, { lines: 5 }).drain(show)
  expect(text()).toBe("\nkept\n")
})
