import { expect, test } from "bun:test"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { countedApart } from "../../../src/base/linux/credentials.ts"
import { interpose } from "../../../src/base/linux/interpose.ts"

const isRoot = process.geteuid?.() === 0
const source = (path: string) => JSON.stringify(join(import.meta.dir, "../../../src", path))

test("what is counted apart leaves this thread as it was", () => {
  const own = () => readFileSync("/proc/thread-self/status", "utf8").match(/^(?:Uid|Cap\w+):.*$/gm)
  const before = own()
  expect(countedApart(() => process.geteuid?.())).toBe(isRoot ? 0x8000_0000 + process.pid : process.geteuid?.())
  expect(own()).toEqual(before)
  expect(() =>
    countedApart(() => {
      throw new Error("work")
    }),
  ).toThrow("work")
  expect(own()).toEqual(before)
  // Where it is not dumpable, others without CAP_SYS_PTRACE could not tell any more what process this is.
  expect(readFileSync("/proc/self/environ").length).toBeGreaterThan(0)
})

test("no failing call keeps this thread from being what it was", () => {
  const before = readFileSync("/proc/thread-self/status", "utf8").match(/^Uid:.*$/m)?.[0]
  try {
    countedApart(() => interpose({ before: (call) => (call === "setresuid" ? 12 : 0) }))
  } finally {
    interpose(undefined)
  }
  expect(readFileSync("/proc/thread-self/status", "utf8")).toContain(`${before}\n`)
})

test.skipIf(!isRoot)("many processes of root watch files where root may watch but once", async () => {
  const holder = Bun.spawn(["unshare", "--user", "sh", "-c", "echo; exec sleep 30"], { stdout: "pipe" })
  await holder.stdout.getReader().read()
  for (const map of ["uid_map", "gid_map"]) writeFileSync(`/proc/${holder.pid}/${map}`, "0 0 4294967295")
  const inside = (code: string) =>
    Bun.spawn(["nsenter", "--user", "-S", "0", "-G", "0", "-t", `${holder.pid}`, process.execPath, "-e", code], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    })
  const limit = inside(`require("node:fs").writeFileSync("/proc/sys/user/max_inotify_instances", "1")`)
  expect(await limit.exited).toBe(0)
  const own = `import { watchWrites } from ${source("base/linux/inotify.ts")}
    watchWrites([require("node:fs").openSync("/proc/version")])`
  const bun = `import { watchPath } from ${source("store/files/watch.ts")}
    watchPath("/tmp", () => {}, { pollMs: 1000 })
    const { readdirSync, readlinkSync } = require("node:fs")
    const targets = readdirSync("/proc/self/fd").map((fd) => { try { return readlinkSync("/proc/self/fd/" + fd) } catch { return "" } })
    if (!targets.some((to) => to.includes("inotify"))) throw new Error("nothing is watched")`
  const watching = [own, own, bun, bun].map((code) => inside(`${code}\nconsole.log("watches"); await Bun.stdin.text()`))
  for (const child of watching) {
    const { value } = await child.stdout.getReader().read()
    expect(new TextDecoder().decode(value)).toBe("watches\n")
  }
  for (const child of watching) child.stdin.end()
  await Promise.all(watching.map((child) => child.exited))
  holder.kill()
  await holder.exited
})
