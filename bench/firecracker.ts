import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { buildDouble } from "../test/contract/programs.ts"
import { findReal, NEWEST } from "../test/real.ts"
import { type Benchmark, type Contender, command } from "./compare.ts"
import { resetGuest } from "./resetGuest.ts"
import type { Table } from "./table.ts"

const root = join(import.meta.dir, "..")

/** How often each way is timed. */
const ROUNDS_COUNT = Number(process.env.BENCH_ROUNDS ?? 40)

/**
 * A guest that resets at once, from the start of the command to its end, in several ways: Firecracker alone, its jailer by hand,
 * a shell with curl, firectl where it is in PATH, and banger. The real Firecracker where it can be used, else its double.
 */
export function firecracker(): Table {
  const { dir, bin, env, which, dispose } = prepare()
  const byHand = (label: string, way: string) => command(label, shell(way, bin, dir), env)
  const root = process.geteuid?.() === 0
  const others = (process.env.BENCH_BANGERS ?? "").split(":").filter((path) => path !== "")
  const bangers = [banger, ...others].flatMap((program, index) => {
    const name = index === 0 ? "banger run" : `${program} run`
    // Each its own: what one leaves open or behind is not the other's.
    const own = { ...env, BANGER_STATE_DIR: join(dir, `state${index}`), BANGER_RUNTIME_DIR: join(dir, `run${index}`) }
    const words = (plugin: string) => [program, "run", join(dir, plugin), "--json", "--quiet"]
    return [
      ...(root ? [command(`${name}, jailed`, words("jailed.ts"), own)] : []),
      command(`${name}, no jail`, words("bare.ts"), own),
    ]
  })
  return {
    name: `firecracker (${which})`,
    about: "from start to end of a guest that resets at once; for banger, jailed, 1.0 is the demand and 0.7 the aim",
    rounds: ROUNDS_COUNT,
    contenders: [
      byHand("firecracker --no-api", "file"),
      ...(root ? [byHand("jailer by hand", "jailer")] : []),
      byHand("shell with curl", "curl"),
      ...(Bun.which("firectl") === null ? [] : [byHand("firectl", "firectl")]),
      ...bangers,
    ],
    against: "shell with curl",
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
  /** The directory with firecracker and jailer. */
  readonly bin: string
  /** Which they are. */
  readonly which: string
  readonly env: Record<string, string | undefined>
  dispose(): void
}

const banger = join(root, "dist/banger")

/** The shell's words for one way of doing it by hand. */
const shell = (way: string, bin: string, dir: string) => [
  ...["sh", "-eu", join(import.meta.dir, "firecracker.sh")],
  ...[way, bin, dir],
]

/** The programs, a guest, its configuration files and its plugins, in a directory of their own. */
function prepare(double = false): Prepared {
  const dir = mkdtempSync(join(tmpdir(), "banger-bench-"))
  const real = double ? "the double is asked for" : findReal()
  const programs = typeof real === "string" ? buildDouble(dir, NEWEST) : real
  const bin = dirname(programs.firecracker)
  // The double goes by the word behind the program.
  writeFileSync(join(dir, "vmlinux"), Buffer.concat([resetGuest(), Buffer.from("RESET")]))
  writeFileSync(join(dir, "disk.img"), new Uint8Array(4096))
  for (const [name, at] of [
    ["bare.json", `${dir}/`],
    ["jailed.json", "/"],
  ] as const)
    writeFileSync(join(dir, name), JSON.stringify(configuration(at)))
  for (const [name, jail] of [
    ["bare.ts", "jail: false"],
    ["jailed.ts", "jail: true"],
  ] as const)
    writeFileSync(
      join(dir, name),
      `import { definePlugin } from "banger"
export default definePlugin({
  kernel: "vmlinux", vmm: "firecracker", ${jail}, vcpus: 1, memory: "128M", drives: [{ path: "disk.img" }], ends: "reset",
})\n`,
    )
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env.PATH}`,
    BANGER_STATE_DIR: join(dir, "state"),
    BANGER_RUNTIME_DIR: join(dir, "run"),
  }
  const which = typeof real === "string" ? `the double: ${real}` : `the real one, ${real.release}`
  return { ...{ dir, bin, which, env }, dispose: () => rmSync(dir, { recursive: true }) }
}

/** Firecracker's configuration file for the guest, whose files are below `at`. */
const configuration = (at: string) => ({
  "boot-source": { kernel_image_path: `${at}vmlinux`, boot_args: "console=ttyS0 reboot=k panic=1" },
  "machine-config": { vcpu_count: 1, mem_size_mib: 128 },
  drives: [{ drive_id: "disk0", path_on_host: `${at}disk.img`, is_root_device: false, is_read_only: false }],
})

/** When the double served the first and the last request, in milliseconds since 1970. */
interface Served {
  readonly first: number
  readonly last: number
}

function byLog(name: string, about: string, measure: (started: number, served: Served) => number): Benchmark {
  const { dir, bin, env, dispose } = prepare(true)
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
    ours: timed("banger run", [banger, "run", join(dir, "bare.ts"), "--json", "--quiet"], (stdout) =>
      join(JSON.parse(stdout).dir, "firecracker.log"),
    ),
    reference: timed("curl", shell("curl", bin, dir), () => join(dir, "log")),
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
