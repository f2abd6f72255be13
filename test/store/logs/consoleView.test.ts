import { expect, test } from "bun:test"
import { appendFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const follower = join(import.meta.dir, "../../fixtures/followLog.ts")

test("a line that comes right behind the first ones is shown, also when none comes after it", async () => {
  for (let round = 0; round < 10; round++) {
    const path = join(directory.path, `log${round}`)
    writeFileSync(path, "early\n")
    const child = Bun.spawn([process.execPath, follower, path], {
      stdout: "pipe",
      timeout: 5000,
      killSignal: "SIGKILL",
    })
    let shown = ""
    for await (const bytes of child.stdout) {
      if (shown === "") appendFileSync(path, "late\n")
      shown += new TextDecoder().decode(bytes)
      if (shown.endsWith("late\n")) break
    }
    child.kill("SIGKILL")
    await child.exited
    expect({ round, shown }).toEqual({ round, shown: "early\nlate\n" })
  }
}, 60_000)
