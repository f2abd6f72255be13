import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync } from "node:fs"
import { join } from "node:path"
import type { Benchmark, Contender } from "./compare.ts"

/** How many sockets of each kind there are. A wedged socket is live but accepts nothing: its backlog is full. */
interface Crowd {
  readonly dead: number
  readonly live: number
  readonly wedged: number
}

const MIX: Crowd = { dead: 10_000, live: 100, wedged: 100 }
const root = join(import.meta.dir, "..")

/** Against a program that connects to one socket after the other, waits at most a second, and unlinks those that refuse. */
export function sweep(): Benchmark {
  const arena = makeArena()
  return {
    name: "sweep",
    about: `${shown(MIX)}, against a C program that connects to each with a 1 s time limit; at least 20 is the aim`,
    rounds: 1,
    cold: true,
    ours: sweeping(arena, "banger", ["sweep", arena.swept, "--grace", "0s"], MIX),
    reference: program(arena, "one by one", "one-by-one", MIX),
    dispose: arena.remove,
  }
}

/** Against a C program that makes the same system calls; both times include the start of a process. */
export function sweepAgainstC(): Benchmark {
  const arena = makeArena()
  return {
    name: "sweep-c",
    about: `${shown(MIX)}, against a C program that makes the same system calls; at least 0.33 is the aim`,
    rounds: 15,
    ours: sweeping(arena, "banger", ["sweep", arena.swept, "--grace", "0s", "--confirm", "1"], MIX),
    reference: program(arena, "C", "sweep", MIX),
    dispose: arena.remove,
  }
}

/** 100,000 sockets in one directory, against 100 times 1,000: with linear growth the ratio is 1. */
export function sweepGrowth(): Benchmark {
  const arena = makeArena()
  const crowd: Crowd = { dead: 100_000, live: 0, wedged: 0 }
  const few: Crowd = { dead: 1000, live: 0, wedged: 0 }
  const words = ["sweep", arena.swept, "--grace", "0s", "--confirm", "1"]
  const parts = Array.from({ length: 100 }, (_, index) => join(arena.swept, String(index)))
  const memory: Record<string, number> = {}
  const one = sweeping(arena, "100,000 at once", words, crowd, (bytes) => (memory.many = bytes))
  return {
    name: "sweep-growth",
    about: "100,000 dead sockets in one directory, against 1,000 in each of 100; 1 is linear",
    rounds: 3,
    ours: one,
    reference: {
      label: "100 × 1,000",
      async prepare() {
        for (const part of parts) {
          mkdirSync(part, { recursive: true })
          chmodSync(part, 0o1755)
          await (await makeCrowd(arena, part, few))()
        }
      },
      run: () => runSweep(words, (bytes) => (memory.few = bytes)),
    },
    note: () => `largest memory: ${mib(memory.many)} MiB for 100,000 at once, ${mib(memory.few)} MiB for 100 × 1,000`,
    dispose: arena.remove,
  }
}

// --- internal ---

interface Arena {
  readonly swept: string
  readonly program: string
  remove(): void
}

function makeArena(): Arena {
  if (process.geteuid?.() !== 0) throw new Error("run this benchmark as root: it measures how root's sweep removes")
  const dir = mkdtempSync("/var/tmp/banger-bench-")
  // In memory, so that the disk is not measured; in a mount namespace of its own (scripts/bench).
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "mode=711,nr_inodes=0", "none", dir])
  if (mounted.exitCode !== 0) throw new Error(mounted.stderr.toString())
  const swept = join(dir, "swept")
  mkdirSync(swept)
  chmodSync(swept, 0o1755)
  const program = join(dir, "sweep-c")
  const built = Bun.spawnSync(["cc", "-O2", "-o", program, join(import.meta.dir, "sweep.c")])
  if (built.exitCode !== 0) throw new Error(`sweep.c cannot be compiled: ${built.stderr.toString()}`)
  return {
    swept,
    program,
    remove() {
      Bun.spawnSync(["umount", "--lazy", dir])
      rmdirSync(dir)
    },
  }
}

/** Makes a crowd of sockets; the function that it returns ends the crowd. */
async function makeCrowd({ program }: Arena, dir: string, { dead, live, wedged }: Crowd): Promise<() => Promise<void>> {
  const counts = [dead, live, wedged].map(String)
  const child = Bun.spawn([program, "make", dir, ...counts], { stdin: "pipe", stdout: "pipe", stderr: "inherit" })
  if ((await child.stdout.getReader().read()).done) throw new Error("the sockets could not be made")
  return async () => {
    child.stdin.end()
    await child.exited
  }
}

function contender(arena: Arena, label: string, crowd: Crowd, work: () => Promise<void>): Contender {
  let end: (() => Promise<void>) | undefined
  return {
    label,
    async prepare() {
      // Removes the dead sockets that the last crowd left.
      await runSweep(["sweep", arena.swept, "--grace", "0s", "--confirm", "1"])
      end = await makeCrowd(arena, arena.swept, crowd)
    },
    run: work,
    async finish() {
      const left = readdirSync(arena.swept).filter((name) => !/^\d+$/.test(name)).length
      await end?.()
      if (left !== crowd.live + crowd.wedged) throw new Error(`${label} left ${left} sockets`)
    },
  }
}

function sweeping(
  arena: Arena,
  label: string,
  words: readonly string[],
  crowd: Crowd,
  onMemory?: (bytes: number) => void,
): Contender {
  return contender(arena, label, crowd, () => runSweep(words, onMemory))
}

function program(arena: Arena, label: string, word: string, crowd: Crowd): Contender {
  return contender(arena, label, crowd, () => runToEnd([arena.program, word, arena.swept]))
}

function runSweep(words: readonly string[], onMemory?: (bytes: number) => void): Promise<void> {
  return runToEnd([join(root, "dist/banger"), ...words, "--quiet"], onMemory)
}

async function runToEnd(argv: readonly string[], onMemory?: (bytes: number) => void): Promise<void> {
  const child = Bun.spawn([...argv], { stdin: "ignore", stdout: "ignore", stderr: "pipe" })
  if ((await child.exited) !== 0) throw new Error(`${argv.join(" ")} failed: ${await child.stderr.text()}`)
  onMemory?.(child.resourceUsage()?.maxRSS ?? Number.NaN)
}

function mib(bytes = Number.NaN): number {
  return Math.round(bytes / 1024 / 1024)
}

function shown({ dead, live, wedged }: Crowd): string {
  return `${dead.toLocaleString("en")} dead sockets with ${live} live and ${wedged} wedged ones among them`
}
