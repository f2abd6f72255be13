import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Plan } from "../src/supervisor/boot/planRun.ts"
import { type Benchmark, command } from "./compare.ts"
import { resetGuest } from "./resetGuest.ts"

const banger = join(import.meta.dir, "../dist/banger")

/** A whole `banger run`, against the same QEMU command line typed by hand; the guest resets at once. */
export default function run(): Benchmark {
  const dir = mkdtempSync(join(tmpdir(), "banger-bench-"))
  const plugin = join(dir, "reset.ts")
  writeFileSync(join(dir, "guest"), resetGuest())
  const bare = join(dir, "bare.ts")
  const hooks = "preBoot() {}, postBoot() {}, postStop() {}"
  for (const [path, more] of [
    [plugin, hooks],
    // By hand one would name the file where it is, not a staged copy.
    [bare, "jail: false"],
  ] as const) {
    writeFileSync(
      path,
      `import { definePlugin } from "banger"\nexport default definePlugin({ kernel: "guest", ends: "reset", ${more} })\n`,
    )
  }
  const env = { ...process.env, BANGER_STATE_DIR: join(dir, "state"), BANGER_RUNTIME_DIR: join(dir, "run") }
  return {
    name: "run",
    about: "banger run against the same QEMU command line; at most 60 ms more is the aim",
    rounds: 10,
    ours: command("banger run", [banger, "run", plugin, "--json", "--quiet"], env),
    reference: command("qemu-system-x86_64", bareQemu(bare, join(dir, "qmp.sock"), env), env),
    dispose: () => rmSync(dir, { recursive: true }),
  }
}

// --- internal ---

/** The planned command line, but QEMU makes the control socket itself, and starts the guest at once. */
function bareQemu(plugin: string, socket: string, env: Record<string, string | undefined>): readonly string[] {
  const planned = Bun.spawnSync([banger, "run", plugin, "--plan", "--json"], { env, stderr: "inherit" })
  const { argv } = JSON.parse(planned.stdout.toString()) as Plan
  return argv.filter((word) => word !== "-S").map((word) => word.replace("fd=3", `path=${socket}`))
}
