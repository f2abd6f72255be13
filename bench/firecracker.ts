import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Benchmark, command } from "./compare.ts"

const root = join(import.meta.dir, "..")

/** A whole `banger run` of Firecracker's double without a jail, against a shell that does the same with curl. */
export default function firecracker(): Benchmark {
  const dir = mkdtempSync(join(tmpdir(), "banger-bench-"))
  const bin = join(dir, "bin")
  mkdirSync(bin)
  const program = join(bin, "firecracker")
  const source = join(root, "test/fixtures/firecracker/firecracker.c")
  const built = Bun.spawnSync(["cc", "-static", "-O2", "-w", "-o", program, source])
  if (built.exitCode !== 0) throw new Error(built.stderr.toString())
  writeFileSync(join(dir, "vmlinux"), `\x7fELF${"\0".repeat(60)}RESET`, { encoding: "latin1" })
  writeFileSync(join(dir, "disk.img"), new Uint8Array(4096))
  const plugin = join(dir, "reset.ts")
  writeFileSync(
    plugin,
    `import { definePlugin } from "banger"
export default definePlugin({
  kernel: "vmlinux", vmm: "firecracker", jail: false, vcpus: 1, memory: "128M", drives: [{ path: "disk.img" }],
})\n`,
  )
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env.PATH}`,
    BANGER_STATE_DIR: join(dir, "state"),
    BANGER_RUNTIME_DIR: join(dir, "run"),
  }
  const shell = ["sh", "-eu", join(import.meta.dir, "firecracker.sh"), program, dir]
  return {
    name: "firecracker",
    about: "banger run of Firecracker's double, from start to end, against a shell that configures it by curl",
    rounds: 15,
    ours: command("banger run", [join(root, "dist/banger"), "run", plugin, "--json", "--quiet"], env),
    reference: command("curl", shell, env),
    dispose: () => rmSync(dir, { recursive: true }),
  }
}
