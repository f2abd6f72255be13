// Plays a sequence of the table against one process, in a directory of its own, and says what came back.
import { type ChildProcess, spawn } from "node:child_process"
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { Programs } from "../real.ts"
import { GUESTS } from "./guests.ts"
import { minorOf } from "./programs.ts"
import { answerFor, meant, onOneLine, repeated, type Sequence } from "./table.ts"
import { ask, askRaw, crowd, listens } from "./wire.ts"

/** The longest wait for the socket, for an exit and for a text. */
const START_MS = 5000
const EXIT_MS = 5000
const TEXT_MS = 3000

/** The modes of files are the table's. */
const UMASK = 0o022

/** What a step was answered; a step that the release does not have is left out. */
export interface Played {
  readonly step: number
  readonly ask: string
  readonly answer: string
}

/** How a sequence is played. */
export interface Playing {
  /** Whether each step is asked, also one without an answer for the release. */
  readonly every?: boolean
  /** So many milliseconds without an answer are silence. */
  readonly silenceMs?: number | undefined
}

/** Runs the program, asks each step in order that has an answer for its release, and ends the process. */
export async function play(
  sequence: Sequence,
  programs: Programs,
  { every = false, silenceMs }: Playing = {},
): Promise<readonly Played[]> {
  const dir = mkdtempSync(join(tmpdir(), "banger-contract-"))
  const scene = { ...begin(dir, sequence, programs), silenceMs }
  try {
    if (!sequence.exact) await ready(scene)
    const played: Played[] = []
    for (const [index, step] of sequence.steps.entries()) {
      if (!every && answerFor(step, minorOf(programs.release)) === undefined) continue
      played.push({ step: index, ask: step.ask, answer: onOneLine(await perform(scene, step.ask)) })
    }
    return played
  } finally {
    if (endOf(scene) === undefined) scene.child.kill("SIGKILL")
    await until(() => endOf(scene) !== undefined, EXIT_MS)
    rmSync(dir, { recursive: true, force: true })
  }
}

// --- internal ---

interface Scene {
  readonly dir: string
  readonly work: string
  readonly socket: string
  readonly words: readonly string[]
  readonly silenceMs?: number | undefined
  child: ChildProcess
}

function begin(dir: string, sequence: Sequence, programs: Programs): Scene {
  const work = join(dir, "work")
  mkdirSync(work)
  chmodSync(dir, 0o755)
  mkdirSync(join(work, "directory"))
  for (const [name, bytes] of Object.entries(GUESTS)) writeFileSync(join(work, name), bytes)
  for (const [name, size] of [
    ["disk", 8 << 20],
    ["odd", 700],
    ["small", 100],
    ["empty", 0],
  ] as const) {
    writeFileSync(join(work, name), "")
    truncateSync(join(work, name), size)
  }
  writeFileSync(join(work, "text"), "This is a text, and nothing else.\n".repeat(20))
  for (const [name, text] of sequence.files) writeFileSync(join(work, name), text)
  const own = sequence.exact || sequence.program === "jailer" ? [] : ["--api-sock", sequence.socket]
  const args = [...own, ...sequence.args].map((word) => word.replace("FIRECRACKER", programs.firecracker))
  // A network namespace of its own: a tap made here is nobody else's.
  const words = [...(sequence.root ? ["unshare", "--net"] : []), programs[sequence.program], ...args]
  const scene = { dir, work, socket: join(work, sequence.socket), words }
  return { ...scene, ...start(scene) }
}

function start({ dir, work, words }: Pick<Scene, "dir" | "work" | "words">): { child: ChildProcess } {
  const [out, err] = [openSync(join(dir, "out"), "w"), openSync(join(dir, "err"), "w")]
  const mask = process.umask(UMASK)
  const child = spawn(words[0] ?? "", words.slice(1), { cwd: work, stdio: ["ignore", out, err], env: {} })
  process.umask(mask)
  closeSync(out)
  closeSync(err)
  return { child }
}

// Ends the process and starts another in the same directory.
async function again(scene: Scene): Promise<string> {
  if (endOf(scene) === undefined) scene.child.kill("SIGKILL")
  await until(() => endOf(scene) !== undefined, EXIT_MS)
  rmSync(scene.socket, { force: true })
  Object.assign(scene, start(scene))
  await ready(scene)
  return endOf(scene) === undefined ? "listens" : "ended"
}

const ready = (scene: Scene) => until(async () => endOf(scene) !== undefined || (await listens(scene.socket)), START_MS)

function endOf({ child }: Scene): string | undefined {
  return child.signalCode ?? (child.exitCode === null ? undefined : String(child.exitCode))
}

async function perform(scene: Scene, line: string): Promise<string> {
  const [word = "", ...rest] = line.split(" ")
  const value = meant(rest.join(" "))
  switch (word) {
    case "EXIT":
      await until(() => endOf(scene) !== undefined, value === "" ? EXIT_MS : Number(value))
      return endOf(scene) ?? "runs"
    case "AGAIN":
      return again(scene)
    case "SIGNAL":
      return scene.child.kill(value as NodeJS.Signals) ? "sent" : "gone"
    case "OUT":
    case "ERR":
      return await look(scene, join(scene.dir, word.toLowerCase()), value)
    case "READ":
      return await look(scene, join(scene.work, rest[0] ?? ""), meant(rest.slice(1).join(" ")))
    case "SIZE":
      return String(lstatSync(join(scene.work, value)).size)
    case "FILE":
      return describe(join(scene.work, value))
    case "LINES": {
      const count = () => readFileSync(join(scene.work, rest[0] ?? ""), "latin1").split("\n").length - 1
      await until(() => count() >= Number(rest[1]), TEXT_MS)
      return String(count())
    }
    case "REMOVE":
      rmSync(join(scene.work, value))
      return "removed"
    case "CROWD":
      return crowd(scene.socket, Number(value))
    case "RAW":
      return askRaw(scene.socket, value.split("<pause>"), scene.silenceMs)
    default:
      return ask(
        scene.socket,
        `${word} ${repeated(rest[0] ?? "")}`,
        repeated(rest.slice(1).join(" ")).replaceAll("<nl>", "\n"),
      )
  }
}

// The whole text of a file in the table's words, or whether it comes to hold a text.
async function look(scene: Scene, path: string, text: string): Promise<string> {
  const read = () => (existsSync(path) ? readFileSync(path, "latin1") : "")
  if (text === "") return plain(Buffer.from(read(), "latin1").toString()).replaceAll(realpathSync(dirname(path)), "DIR")
  await until(() => read().includes(text) || endOf(scene) !== undefined, TEXT_MS)
  return read().includes(text) ? "seen" : "not seen"
}

// Without what differs from run to run: times, durations, places in a source.
function plain(text: string): string {
  return text
    .replace(/^\d{4}-\d\d-\d\dT[\d:.]+ /gm, "")
    .replace(/took \d+ us/g, "took N us")
    .replace(/panicked at \S+:\d+:\d+:/g, "panicked at PLACE:")
    .replace(/thread '[^']*' \(\d+\)/g, "thread (N)")
    .trimEnd()
}

function describe(path: string): string {
  try {
    const stat = lstatSync(path)
    const kind = stat.isSocket() ? "socket" : stat.isDirectory() ? "directory" : stat.isFile() ? "file" : "special"
    const own = stat.uid === process.getuid?.() && stat.gid === process.getgid?.()
    return `${kind} ${(stat.mode & 0o777).toString(8).padStart(4, "0")} ${own ? "own" : `${stat.uid}:${stat.gid}`}`
  } catch {
    return "none"
  }
}

async function until(test: () => boolean | Promise<boolean>, ms: number): Promise<boolean> {
  const end = performance.now() + ms
  while (!(await test())) {
    if (performance.now() > end) return false
    await Bun.sleep(2)
  }
  return true
}
