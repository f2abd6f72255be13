import { expect, test } from "bun:test"
import { join } from "node:path"
import { handOverCode } from "../../../src/base/linux/redirectSignals.ts"

const source = (file: string) => JSON.stringify(join(import.meta.dir, "../../../src/base/linux", file))

/** Becomes another program, which tells what signals wait for it; one that comes before is told by a handler. */
const PROGRAM = `
  import { replaceProgram } from ${source("exec.ts")}
  import { redirectSignals } from ${source("redirectSignals.ts")}
  import { holdSignals } from ${source("signals.ts")}
  process.on("SIGTERM", () => { console.log("told"); process.exit(0) })
  await Promise.all([1, 2, 3, 4].map((n) => Bun.file("/proc/self/stat").text()))
  holdSignals([15])
  redirectSignals([15])
  console.log("ready")
  // What this program's own handler noted now would never be told.
  const end = performance.now() + 12
  while (performance.now() < end);
  replaceProgram({
    path: "/bin/sh",
    argv: ["sh", "-c", 'read after; while read name mask; do case $name in SigPnd:|ShdPnd:) echo $mask;; esac; done < /proc/$$/status'],
    env: {},
  })
`

/** Sends one SIGTERM so many milliseconds after the program holds it back; returns whether it is known of afterwards. */
async function isHeard(afterMs: number): Promise<boolean> {
  const child = Bun.spawn([process.execPath, "-e", PROGRAM], { stdin: "pipe", stdout: "pipe" })
  let said = ""
  for await (const chunk of child.stdout) {
    const first = said === ""
    said += new TextDecoder().decode(chunk)
    if (!first) continue
    const at = performance.now() + afterMs
    while (performance.now() < at);
    child.kill("SIGTERM")
    // The next program looks only now: this one may have been late on a busy host.
    child.stdin.end()
  }
  await child.exited
  return said.includes("told") || /^0*4000$/m.test(said)
}

test("a signal of the process that comes at any moment before execve(2) waits for the next program", async () => {
  for (let round = 0; round < 24; round++)
    expect({ round, heard: await isHeard(round * 0.3) }).toEqual({ round, heard: true })
})

test("several signals that come while the program waits all wait for the next one", async () => {
  // The runtime waits for events with no signal held back (epoll_pwait2(2)), whatever this thread holds back.
  const program = PROGRAM.replaceAll("[15]", "[2, 10, 15]").replace(
    "while (performance.now() < end);",
    "await Bun.sleep(50)",
  )
  const child = Bun.spawn([process.execPath, "-e", program], { stdin: "pipe", stdout: "pipe" })
  const killing = setTimeout(() => child.kill("SIGKILL"), 5000)
  let said = ""
  for await (const chunk of child.stdout) {
    if (said === "") for (const signal of ["SIGINT", "SIGUSR1", "SIGTERM"] as const) child.kill(signal)
    child.stdin.end()
    said += new TextDecoder().decode(chunk)
  }
  clearTimeout(killing)
  expect(said).toMatch(/^0*4202$/m)
})

test("the code of a handler has the pid", () => {
  const hex = (arch: string) => Buffer.from(handOverCode(0x1234_5678, arch)).toString("hex")
  expect(hex("x64")).toBe("89fabf78563412be78563412b8ea0000000f05c3")
  expect(hex("arm64")).toBe("e203002a00cf8a528046a272".concat("01cf8a528146a272", "68108052", "010000d4", "c0035fd6"))
})
