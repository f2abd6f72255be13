import { expect, test } from "bun:test"
import { appendFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { follow } from "../../../src/store/logs/boundedFile.ts"
import { followConsole } from "../../../src/store/logs/consoleView.ts"
import type { Sink } from "../../../src/store/logs/growing.ts"
import { watchFile } from "../../../src/store/logs/watchFile.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

const followers: [name: string, begin: (path: string, sink: Sink) => { close(): void }][] = [
  ["a supervisor", (path, sink) => follow(path, { limitBytes: 1 << 20, sink, onTrouble: expect.unreachable })],
  ["a reader", (path, sink) => followConsole(path, undefined, sink)],
]

test.each(followers)("%s sees at once what came before the kernel watched", (_name, begin) => {
  const path = join(directory.path, "log")
  writeFileSync(path, "early\n")
  let shown = ""
  const follower = begin(path, (chunk) => {
    shown += Buffer.from(chunk)
    return chunk.length
  })
  expect(shown).toBe("early\n")
  follower.close()
})

test.each(followers)(
  "%s that is slow at first gets the rest also when nothing comes after it",
  async (_name, begin) => {
    const path = join(directory.path, "log")
    writeFileSync(path, "early and late\n")
    const { promise, resolve } = Promise.withResolvers<string>()
    let [shown, offers] = ["", 0]
    const follower = begin(path, (chunk) => {
      // Bytes, none, then all.
      const taken = Math.min(chunk.length, [5, 0, chunk.length][offers++] ?? chunk.length)
      shown += Buffer.from(chunk.subarray(0, taken))
      if (shown.endsWith("\n")) resolve(shown)
      return taken
    })
    await awake(promise)
    expect({ shown, offers }).toEqual({ shown: "early and late\n", offers: 3 })
    follower.close()
  },
)

test("it looks once where nothing changes, and again after a change; never once it is closed", async () => {
  const path = join(directory.path, "log")
  writeFileSync(path, "")
  let looks = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const watcher = watchFile(path, () => {
    if (++looks > 1) resolve()
    return true
  })
  expect(looks).toBe(1)
  appendFileSync(path, "more")
  await awake(promise)
  // Of one write there may be two events.
  await Bun.sleep(100)
  const seen = looks
  watcher.close()
  appendFileSync(path, "late")
  await Bun.sleep(100)
  expect(looks).toBe(seen)
})

test("whose first look fails is not watched", async () => {
  const path = join(directory.path, "log")
  writeFileSync(path, "")
  let looks = 0
  const fail = () => {
    looks++
    throw new Error("it cannot be read")
  }
  expect(() => watchFile(path, fail)).toThrow("it cannot be read")
  appendFileSync(path, "more")
  await Bun.sleep(100)
  expect(looks).toBe(1)
})

/** The timers and watches of a follower keep no process alive. */
async function awake<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, 1000)
  try {
    return await promise
  } finally {
    clearInterval(timer)
  }
}
