import { afterEach, beforeAll, expect } from "bun:test"
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture, start } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildFixture } from "./support/doubles.ts"
import { type Firecracker, firecrackersOfFile, pollingGuest } from "./support/firecrackers.ts"
import { eachInItsPlace } from "./support/place.ts"

const newDirectory = directoriesOfFile()
const place = eachInItsPlace()
let program = ""
beforeAll(() => {
  program = buildFixture("faultHandler", newDirectory())
})
const handlers: Bun.Subprocess[] = []
afterEach(async () => {
  for (const handler of handlers.splice(0)) {
    handler.kill("SIGKILL")
    await handler.exited
  }
})

// The jailer puts the device into the jail where the host has it; in others only root may.
const noDevice = existsSync("/dev/userfaultfd") ? undefined : "this host has no /dev/userfaultfd"
if (noDevice !== undefined) console.log(`the real Firecracker with a handler of page faults is left out: ${noDevice}`)

for (const one of firecrackersOfFile()) {
  const run = (flags: readonly string[], spec: object = {}) => {
    const words = [fixture("firecracker"), ...flags, "--", pollingGuest(place.dir), JSON.stringify(spec)]
    return start(place, ["run", ...words], one.env)
  }
  const withHandler = (uffd: string) => ({ firecracker: { uffd } })

  const usual = one.real && noDevice !== undefined ? one.test.skip : one.test
  usual(
    `${one.name}: a handler of page faults gives the guest its memory, from a directory the VM cannot enter`,
    async () => {
      const dir = await saved(one)
      const closed = join(place.dir, "closed")
      mkdirSync(closed, { mode: 0o700 })
      const socket = join(closed, "handler.sock")
      const handler = await listening(socket, join(dir, "memory"), "666")
      const memory = join(dir, "hidden")
      await Bun.$`mv ${join(dir, "memory")} ${memory}`.quiet()
      const restored = run(["--restore", dir], withHandler(socket))
      await restored.shows("runs as")
      await handler.says(one.real ? "gave a page" : "connected")
      restored.signal("SIGINT")
      expect((await restored.ended).stderr).toContain("postStop: guest reset")
    },
  )

  one.test(
    `${one.name}: what is no socket that the VM can connect to is refused by name, and the snapshot stays`,
    async () => {
      const dir = await saved(one)
      const at = (name: string) => join(place.dir, name)
      writeFileSync(at("file"), "")
      const refused = async (path: string, words: string) => {
        const { stderr, exit } = await run(["--restore", dir], withHandler(path)).ended
        expect(stderr).toContain(words)
        expect(exit).toBe(2)
      }
      await refused("handler.sock", "the absolute path of a unix socket")
      await refused(at("none"), `firecracker.uffd: there is no socket ${at("none")}`)
      await refused(at("file"), `firecracker.uffd: ${at("file")} is not a unix socket`)
      const handler = await listening(at("shut"), join(dir, "memory"), "600")
      await refused(at("shut"), "firecracker.uffd: the VM's uid may not connect to")
      handler.child.kill("SIGKILL")
      await handler.child.exited
      await refused(at("shut"), `firecracker.uffd: nothing listens on ${at("shut")}`)
      rmSync(at("shut"))
      const huge = { machine: { huge_pages: "2M" } }
      const { stderr } = await run(["--restore", dir], { firecracker: huge }).ended
      expect(stderr).toContain("firecracker.machine.huge_pages: Firecracker restores huge pages only from a handler")
      const restored = run(["--restore", dir])
      await restored.shows("runs as")
      restored.signal("SIGINT")
      await restored.ended
    },
  )
}

// --- internal ---

async function saved(one: Firecracker): Promise<string> {
  const run = start(place, ["run", fixture("firecracker"), "--", pollingGuest(place.dir)], one.env)
  await run.shows("runs as")
  const dir = join(place.dir, "saved")
  expect(await banger(place, ["snapshot", "fc", dir], one.env)).toMatchObject({ exit: 0 })
  run.signal("SIGINT")
  await run.ended
  return dir
}

async function listening(socket: string, memory: string, mode: string) {
  const child = Bun.spawn([program, socket, memory, mode], { stdout: "pipe", stderr: "inherit" })
  handlers.push(child)
  const reader = child.stdout.getReader()
  let said = ""
  const says = async (words: string) => {
    while (!said.includes(words)) {
      const { value, done } = await reader.read()
      if (done) throw new Error(`the handler ended without saying ${words}: ${said}`)
      said += new TextDecoder().decode(value)
    }
  }
  await says("listens")
  return { child, says }
}
