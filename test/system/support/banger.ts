import { expect } from "bun:test"
import { join } from "node:path"
import { checkDocuments } from "../../documents.ts"
import type { Place } from "./place.ts"

const root = join(import.meta.dir, "../../..")

/** A fixture plugin's path. */
export function fixture(name: string): string {
  return join(root, "test/fixtures/plugins", `${name}.ts`)
}

/** A running banger. */
export interface Running {
  readonly pid: number
  /** Resolves when its standard output or error has shown this text; rejects when it ends without. */
  shows(text: string): Promise<void>
  signal(name: NodeJS.Signals): void
  readonly ended: Promise<Ended>
}

/** All that a banger said and how it ended. */
export interface Ended {
  readonly stdout: string
  readonly stderr: string
  readonly exit: number | null
}

/** How to start a banger otherwise: with descriptors of one's own, what goes there is not seen; by another command. */
export interface Manner {
  /** The words before banger's own. */
  readonly through?: readonly string[]
  /** False when those are a banger themselves. */
  readonly self?: false
  readonly stdin?: number
  readonly stdout?: number
  readonly stderr?: number
}

/** Starts the banger of a place: of system tests it is the compiled binary. Rejects when what it prints as JSON is not its document. */
export function start(
  place: Place,
  args: readonly string[],
  env: Record<string, string> = {},
  manner: Manner = {},
): Running {
  const child = Bun.spawn([...(manner.through ?? []), ...(manner.self === false ? [] : place.program), ...args], {
    stdin: manner.stdin ?? "ignore",
    stdout: manner.stdout ?? "pipe",
    stderr: manner.stderr ?? "pipe",
    cwd: place.dir,
    env: { ...environmentOf(place), ...env },
  })
  const seen = { stdout: "", stderr: "" }
  const watchers = new Set<() => void>()
  const collect = async (stream: ReadableStream<Uint8Array> | number, name: "stdout" | "stderr") => {
    const decoder = new TextDecoder()
    if (typeof stream === "number") return
    for await (const chunk of stream) {
      seen[name] += decoder.decode(chunk, { stream: true })
      for (const look of watchers) look()
    }
  }
  const read = Promise.all([collect(child.stdout, "stdout"), collect(child.stderr, "stderr")])
  const ended = Promise.all([child.exited, read]).then(() => {
    const all = { ...seen, exit: child.exitCode }
    checkDocuments(args, all)
    return all
  })
  return {
    pid: child.pid,
    signal: (name) => child.kill(name),
    ended,
    shows(text) {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const look = () => {
        if (seen.stdout.includes(text) || seen.stderr.includes(text)) resolve()
      }
      watchers.add(look)
      look()
      ended.then(() => reject(new Error(`ended without showing ${text}:\n${seen.stdout}${seen.stderr}`)))
      return promise.finally(() => watchers.delete(look))
    },
  }
}

/** The environment of each banger of a place. */
export function environmentOf({ state, runtime, env }: Place): Record<string, string> {
  return { PATH: process.env.PATH ?? "", BANGER_STATE_DIR: state, BANGER_RUNTIME_DIR: runtime, ...env }
}

/**
 * Awaits the end of a run that is killed at one of its moments, and asserts that; false where it showed `text` first, and was ended then:
 * how many moments a run has varies by a few, so that the last one of another may not come.
 */
export async function wasKilled(run: Running, text: string, label: string): Promise<boolean> {
  const shown = run.shows(text).then(
    () => true,
    () => false,
  )
  if (await shown) run.signal("SIGINT")
  const { exit } = await run.ended
  if (!(await shown)) expect(exit, label).toBe(null)
  return !(await shown)
}

/** Runs a place's banger to its end, killed as it makes one of these system calls for the `count`th time. */
export function killedAt(place: Place, calls: string, count: number, args: readonly string[]): Promise<Ended> {
  const inject = `inject=${calls}:signal=KILL:when=${count}`
  const through = ["strace", "-o", "/dev/null", "-e", `trace=${calls}`, "-e", inject]
  return start(place, args, {}, { through }).ended
}

/** Runs a place's banger to its end in a PID namespace of its own, as in a container. */
export function bangerElsewhere(place: Place, args: readonly string[]): Promise<Ended> {
  return start(place, args, {}, { through: ["unshare", "--pid", "--fork", "--mount-proc"] }).ended
}

/** Runs a place's banger to its end. */
export function banger(place: Place, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  return start(place, args, env).ended
}

/** Starts the guest fixture: a script for the guest, and fields of the spec. */
export function startGuest(
  place: Place,
  script: string,
  spec: object = {},
  flags: readonly string[] = [],
  manner: Manner = {},
): Running {
  return start(place, ["run", fixture("guest"), ...flags, "--", script, JSON.stringify(spec)], {}, manner)
}

/** Resolves when a condition holds that nothing announces. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(20)
}
