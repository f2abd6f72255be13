import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import type { Failure } from "../../../src/base/terms/failure.ts"
import { hostPath } from "../../../src/base/terms/path.ts"
import { inTurn } from "../../../src/supervisor/changes/turn.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const vm = () => ({ id: "web-1", dir: hostPath(directory.path) })
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "none",
    ({ code, message }: Failure) => `${code}: ${message}`,
  )

test("changes of a VM are made one at a time, whoever makes them; each waits, but not for ever", async () => {
  const module = join(import.meta.dir, "../../../src/supervisor/changes/turn.ts")
  const script = `const { inTurn } = await import("${module}")
    await inTurn("web", { id: "web-1", dir: "${directory.path}" }, async () => {
      console.log("mine")
      await new Response(Bun.stdin).text()
    })`
  const other = Bun.spawn([process.execPath, "-e", script], { stdin: "pipe", stdout: "pipe" })
  await other.stdout.getReader().read()
  const order: string[] = []
  const work = async () => void order.push("ours")
  expect(await codeOf(inTurn("web", vm(), work, { patienceMs: 30 }))).toBe(
    "BUSY: something else is changing web: waited 30ms for it",
  )
  const over = AbortSignal.timeout(20)
  expect(await codeOf(inTurn("web", vm(), work, { signal: over }))).toContain("timed out")
  const waiting = inTurn("web", vm(), work)
  await Bun.sleep(30)
  expect(order).toEqual([])
  other.stdin.end()
  await waiting
  expect(order).toEqual(["ours"])
  expect(await other.exited).toBe(0)
})

test("work that fails gives the turn away, and a VM that has been removed has none", async () => {
  await inTurn("web", vm(), async () => Promise.reject(new Error("no"))).catch(() => {})
  await inTurn("web", vm(), async () => {}, { patienceMs: 0 })
  const gone = { id: "web-1", dir: hostPath(join(directory.path, "gone")) }
  expect(await codeOf(inTurn("web", gone, async () => {}))).toContain("WRONG_STATE: the directory of web has gone")
  mkdirSync(gone.dir)
  expect(await codeOf(inTurn("web", gone, async () => {}))).toBe("none")
})
