import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Benchmark, type Contender, command } from "./compare.ts"

const root = join(import.meta.dir, "..")

/** A whole `banger run` with Firecracker's double and no jail, against a shell that does the same with curl. */
export default function firecracker(): Benchmark {
  const { shell, banger, env, dispose } = prepare()
  return {
    name: "firecracker",
    about: "banger run of Firecracker's double, from start to end, against a shell that configures it by curl",
    rounds: 15,
    ours: command("banger run", banger, env),
    reference: command("curl", shell, env),
    dispose,
  }
}

/** The time from the start to the first request that the API answered, by the double's own log. */
export function firstRequest(): Benchmark {
  const about =
    "from the start of banger run, or of the shell, to the first request that Firecracker's double has served"
  return byLog("firecracker-first", about, (started, { first }) => first - started)
}

/** The time from the first request to the one that starts the guest, by the double's own log. */
export function apiConfiguration(): Benchmark {
  const about = "from the first request that Firecracker's double has served to the one that starts the guest"
  return byLog("firecracker-api", about, (_, { first, last }) => last - first)
}

// --- internal ---

interface Prepared {
  readonly dir: string
  readonly shell: readonly string[]
  readonly banger: readonly string[]
  readonly env: Record<string, string | undefined>
  dispose(): void
}

function prepare(): Prepared {
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
  return {
    ...{ dir, env },
    shell: ["sh", "-eu", join(import.meta.dir, "firecracker.sh"), program, dir],
    banger: [join(root, "dist/banger"), "run", plugin, "--json", "--quiet"],
    dispose: () => rmSync(dir, { recursive: true }),
  }
}

/** When the double served the first and the last request, in milliseconds since 1970. */
interface Served {
  readonly first: number
  readonly last: number
}

function byLog(name: string, about: string, measure: (started: number, served: Served) => number): Benchmark {
  const { dir, shell, banger, env, dispose } = prepare()
  const timed = (label: string, argv: readonly string[], logOf: (stdout: string) => string): Contender => ({
    label,
    async run() {
      const started = performance.timeOrigin + performance.now()
      const child = Bun.spawn([...argv], { stdin: "ignore", stdout: "pipe", stderr: "pipe", env })
      const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()])
      if ((await child.exited) !== 0) throw new Error(`${argv.join(" ")} failed: ${stderr}`)
      return measure(started, servedIn(readFileSync(logOf(stdout), "utf8")))
    },
  })
  return {
    ...{ name, about, dispose },
    rounds: 15,
    ours: timed("banger run", banger, (stdout) => join(JSON.parse(stdout).dir, "firecracker.log")),
    reference: timed("curl", shell, () => join(dir, "log")),
  }
}

/** The double writes nanoseconds; a date of JavaScript has milliseconds. */
function servedIn(log: string): Served {
  const times = [...log.matchAll(/^(\S+)\.(\d{9}) \[.*received a request on/gm)]
  const [first, ...others] = times.map(([, second, fraction]) => Date.parse(`${second}Z`) + Number(fraction) / 1e6)
  const last = others.at(-1)
  if (first === undefined || last === undefined) throw new Error(`no requests in the log:\n${log}`)
  return { first, last }
}
