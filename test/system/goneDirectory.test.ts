import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { start } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()

/** In a directory that is removed by then, of which Bun itself says no more than that it is. */
function gone(words: string) {
  const dir = join(place.dir, "gone")
  mkdirSync(dir)
  const script = `cd ${dir} && rmdir ${dir} && exec ${place.program.join(" ")} ${words}`
  return start(place, ["-c", script], {}, { through: ["sh"], self: false }).ended
}

test.each(["version", "--version", "ps", "ps --json", "--help", "stop --all", "sweep", "system cron", "net ls"])(
  "in a directory that was removed `banger %s` does as ever",
  async (words) => {
    expect((await gone(words)).exit).toBe(0)
  },
)

test.each(["run p.ts", "init", "sweep sockets", "run --trace t.json /p.ts"])(
  "in a directory that was removed `banger %s` says that this is why, and makes nothing",
  async (words) => {
    const { stderr, exit } = await gone(words)
    expect(stderr).toContain("the working directory was removed")
    expect(exit).toBe(2)
  },
)
