// The contract's table as text: sequences of requests and the answers to them, read and written without losing a comment.
// A file holds sequences; table/README.md says how each line is read.

/** One thing asked of the program, and the answers that hold, each for a range of releases. */
export interface Step {
  readonly ask: string
  readonly answers: Answer[]
  /** What the real one answers at times instead. */
  readonly also: string[]
}

/** An answer that holds from one minor release to another, both included; without ends it holds for the newest. */
export interface Answer {
  readonly range: Range
  text: string
}

/** Minor releases, such as 13 for 1.13. */
export interface Range {
  readonly since: number
  readonly until: number
}

/** Steps asked in order of one fresh process. */
export interface Sequence {
  readonly file: string
  readonly name: string
  /** Words after the program's own; `exact` when nothing is put before them and no socket is waited for. */
  readonly args: readonly string[]
  readonly exact: boolean
  readonly program: "firecracker" | "jailer"
  /** What the machine must offer: root (and so taps and jails). */
  readonly root: boolean
  /** Whether the host must have no huge page that is free. */
  readonly noHugePages: boolean
  /** The API socket, relative to the directory of the sequence. */
  readonly socket: string
  /** Files written before the start: name and text. */
  readonly files: ReadonlyMap<string, string>
  /** The releases that the sequence is tried on; undefined for the newest alone. */
  readonly releases: Range | undefined
  readonly steps: readonly Step[]
}

/** What stands in one file: its lines as they are, and the sequences in them. */
export interface Table {
  readonly path: string
  readonly sequences: readonly Sequence[]
}

const EVERY: Range = { since: 0, until: Infinity }

/** Reads a table; throws with the line that it does not understand. */
export function parseTable(path: string, text: string): Table {
  const sequences: Draft[] = []
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue
    if (line.startsWith("== ")) {
      sequences.push(draft(path, line.slice(3)))
      continue
    }
    const current = sequences.at(-1)
    if (current === undefined) throw new Error(`${path}:${index + 1}: no sequence has begun`)
    if (line.startsWith(":")) direct(current, line)
    else if (line.startsWith("<? ")) current.steps.at(-1)?.also.push(line.slice(3))
    else if (line.startsWith("<")) current.steps.at(-1)?.answers.push(answerOf(line))
    else current.steps.push({ ask: line, answers: [], also: [] })
  }
  return { path, sequences }
}

/** The answer that a step has on a minor release; undefined when the step is not for that release. */
export function answerFor(step: Step, minor: number): Answer | undefined {
  const ranged = step.answers.filter(({ range }) => range !== EVERY)
  return ranged.find(({ range }) => within(range, minor)) ?? step.answers.find(({ range }) => range === EVERY)
}

/** Whether a release is in a range. */
export const within = ({ since, until }: Range, minor: number): boolean => since <= minor && minor <= until

/** The table's text with the answers of `found` (by sequence and step) in place of those for the newest release. */
export function withAnswers(text: string, found: (sequence: number, step: number) => string | undefined): string {
  let sequence = -1
  let step = -1
  const lines: string[] = []
  for (const line of text.split("\n")) {
    if (line.startsWith("== ")) {
      sequence++
      step = -1
    }
    const asked = line !== "" && !/^(#|== |:|<)/.test(line)
    if (asked) step++
    const answer = asked ? found(sequence, step) : undefined
    if (answer === undefined && line.startsWith("< ") && found(sequence, step) !== undefined) continue
    lines.push(line)
    if (answer !== undefined) lines.push(`< ${answer}`)
  }
  return lines.join("\n")
}

/** The text with `<c*N>` (N times c) put in. */
export const repeated = (text: string): string =>
  text.replace(/<(.)\*(\d+)>/g, (_, char: string, count: string) => char.repeat(Number(count)))

/** The same with `\r`, `\n`, `\t` and `\xNN` put in too, for what is no JSON. */
export function meant(text: string): string {
  const bytes: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t" }
  return repeated(text).replace(/\\(?:x([0-9a-f]{2})|([rnt]))/g, (_, hex: string, name: string) =>
    hex === undefined ? (bytes[name] ?? "") : String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

/** The other way: text on one line, long runs of one character shortened. */
export function onOneLine(text: string): string {
  return (text || "nothing")
    .replaceAll("\r", "\\r")
    .replaceAll("\n", "\\n")
    .replace(/(.)\1{39,}/g, (run, char: string) => `<${char}*${run.length}>`)
}

// --- internal ---

interface Draft extends Sequence {
  args: string[]
  exact: boolean
  program: "firecracker" | "jailer"
  root: boolean
  noHugePages: boolean
  socket: string
  files: Map<string, string>
  releases: Range | undefined
  steps: Step[]
}

function draft(path: string, name: string): Draft {
  return {
    ...{
      file: path.replace(/.*\//, ""),
      name,
      args: [],
      exact: false,
      program: "firecracker",
      root: false,
      noHugePages: false,
    },
    ...{ socket: "api.sock", files: new Map(), releases: undefined, steps: [] },
  }
}

function direct(sequence: Draft, line: string): void {
  const [word = "", ...rest] = line.slice(1).split(" ")
  const value = rest.join(" ")
  const words = rest.filter((part) => part !== "").map(meant)
  if (word === "args") sequence.args = words
  else if (word === "command" || word === "jailer") Object.assign(sequence, { args: words, exact: true })
  else if (word === "socket") Object.assign(sequence, { socket: meant(value), exact: false })
  else if (word === "root") sequence.root = true
  else if (word === "no-huge-pages") sequence.noHugePages = true
  else if (word === "file") sequence.files.set(rest[0] ?? "", meant(rest.slice(1).join(" ")))
  else if (word === "releases") sequence.releases = rangeOf(value)
  else throw new Error(`${sequence.file}: ${sequence.name}: what is ${line}?`)
  if (word === "jailer") sequence.program = "jailer"
}

// `..1.13`, `1.14..`, `1.7..1.13`; nothing is every release.
function rangeOf(text: string): Range {
  const [since = "", until = ""] = text.split("..")
  const minor = (part: string, none: number) => (part === "" ? none : Number(part.replace(/^1\./, "")))
  return text === "" ? EVERY : { since: minor(since, 0), until: minor(until, Infinity) }
}

function answerOf(line: string): Answer {
  const space = line.indexOf(" ")
  return { range: rangeOf(line.slice(1, space)), text: line.slice(space + 1) }
}
