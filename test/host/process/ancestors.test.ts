import { expect, test } from "bun:test"
import { ancestorsOf, parseParent } from "../../../src/host/process/ancestors.ts"

test.each([
  ["77 (a ) b) S 12 77 77", 12],
  ["1 (init) S 0 1 1", undefined],
  ["", undefined],
] as const)("the parent in %p is %p", (stat, parent) => expect(parseParent(stat)).toBe(parent))

test("this process is an ancestor of what a shell of its own starts", async () => {
  const inner = Bun.spawn(["sh", "-c", "sh -c 'echo $$; read x'; true"], { stdin: "pipe", stdout: "pipe" })
  const { value } = await inner.stdout.getReader().read()
  const pid = Number(new TextDecoder().decode(value))
  expect(ancestorsOf(pid).slice(0, 2)).toEqual([inner.pid, process.pid])
  expect(ancestorsOf(process.pid)).not.toContain(process.pid)
  inner.stdin.end()
  await inner.exited
  expect(ancestorsOf(pid)).toEqual([])
})
