import { expect, test } from "bun:test"
import { runProgram } from "../../../src/base/linux/runProgram.ts"

const run = (argv: readonly string[], limitMs = 20_000) => runProgram(argv, { limitMs, env: { ONE: "1" } })
const shell = (script: string, limitMs?: number) => run(["/bin/sh", "-c", script], limitMs)

test("a program's status, and what it says on either output", () => {
  expect(shell("echo out; echo err >&2; exit 3")).toEqual({ exit: 3, late: false, output: "out\nerr" })
  expect(run(["/bin/echo", "$ONE; not a shell"])).toMatchObject({ exit: 0, output: "$ONE; not a shell" })
})

test("it has this environment alone, an empty input, and no descriptor of ours", () => {
  expect(
    shell("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; pwd; cat; ls /proc/self/fd | tr '\\n' ' '").output,
  ).toBe("ONE=1\n/\n0 1 2 3")
})

test("one that is killed has no status; one that cannot be started throws", () => {
  expect(shell("kill -9 $$")).toEqual({ exit: null, late: false, output: "" })
  expect(() => run(["/no/such/program"])).toThrow("ENOENT")
})

test("output is read to its end, and little of it kept", () => {
  const { exit, output } = shell("head -c 3000000 /dev/zero | tr '\\0' y; exit 1")
  expect(exit).toBe(1)
  expect(output).toMatch(/^y{1024}$/)
})

test("one whose time is up is killed, with what it has started in its group; what left that is not waited for", () => {
  const mark = `banger-test-${crypto.randomUUID()}`
  const late = shell(`sh -c 'sleep 1000' ${mark}; true`, 200)
  expect(late).toEqual({ exit: null, late: true, output: "" })
  expect(Bun.spawnSync(["pgrep", "-f", mark]).stdout.toString()).toBe("")
  // It holds the output open, in a session of its own.
  const left = shell(`setsid sh -c 'sleep 3' ${mark} & echo done`)
  expect(left).toMatchObject({ exit: 0, output: "done" })
})
