// Runs the sweep's tests on the guest's kernel (scripts/sweep-guest). Argument: how many lives of the service.
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fixture } from "./banger.ts"
import { buildFixture } from "./doubles.ts"
import { guestScript, makeGuestDisk } from "./guestDisk.ts"

const [lives = "40000"] = process.argv.slice(2)
const dir = mkdtempSync(join(tmpdir(), "banger-sweep-guest-"))
try {
  const programs = ["sockets/states", "sockets/respawn"].map((name) => buildFixture(name, dir))
  const disk = makeGuestDisk(dir, join(import.meta.dir, "../../fixtures/sockets/sweepInGuest.ts"), programs)
  const script = `${guestScript("/states")}; mount -t tmpfs none /mnt/tmp && chroot /mnt /sweepInGuest ${lives}`
  const spec = { memory: "1G", vcpus: 2, drives: [{ path: disk, id: "root" }] }
  const child = Bun.spawn(
    [join(import.meta.dir, "../../../dist/banger"), "run", fixture("guest"), "--", script, JSON.stringify(spec)],
    {
      env: { PATH: process.env.PATH, BANGER_STATE_DIR: join(dir, "state"), BANGER_RUNTIME_DIR: join(dir, "run") },
      stdout: "pipe",
      stderr: "inherit",
    },
  )
  let text = ""
  const decoder = new TextDecoder()
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true })
    await Bun.write(Bun.stdout, chunk)
  }
  await child.exited
  process.exitCode = /^all as expected\r?$/m.test(text) ? 0 : 1
} finally {
  rmSync(dir, { recursive: true, force: true })
}
