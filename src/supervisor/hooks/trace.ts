import { accessSync, constants, lstatSync } from "node:fs"
import { dirname } from "node:path"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { replaceFile } from "../../store/files/replaceFile.ts"

/** One finished span: times in microseconds since the process began. */
interface Span {
  readonly name: string
  readonly start: number
  readonly duration: number
}

/** Times the phases and hooks of a run. */
export interface Trace {
  /** Runs `work` as a named span. */
  span<T>(name: string, work: () => Promise<T>): Promise<T>
  /**
   * Chrome trace events (Trace Event Format, "X" complete events), for Perfetto. Replaces the file whole; throws where
   * `requireTraceFile` would.
   */
  write(path: string): void
}

/** Starts tracing; the first span, `start`, covers the time from the start of the process to now. */
export function startTrace(): Trace {
  const spans: Span[] = [{ name: "start", start: 0, duration: microseconds() }]
  return {
    async span(name, work) {
      const start = microseconds()
      try {
        return await work()
      } finally {
        spans.push({ name, start, duration: microseconds() - start })
      }
    },
    write(path) {
      requireTraceFile(path)
      replaceFile(path, JSON.stringify(traceEvents(spans, process.pid)))
    },
  }
}

/**
 * Throws a failure unless a trace can be put at `path`: a new name or a regular file in a directory that can be written.
 * A device, a FIFO or a symlink would itself be replaced.
 */
export function requireTraceFile(path: string): void {
  if (isNewOrRegular(path)) return
  throw new Failure("BAD_FILE", `--trace ${path} is there and is not a regular file`, {
    ...{ hint: "name a new file, or one to replace", subject: path },
  })
}

/** The document Perfetto opens, from spans. */
export function traceEvents(spans: readonly Span[], pid: number): { traceEvents: readonly unknown[] } {
  return {
    traceEvents: spans.map(({ name, start, duration }) => ({
      name,
      ph: "X",
      ts: start,
      dur: duration,
      pid,
      tid: 1,
      cat: name.includes(":") ? "hook" : "phase",
    })),
  }
}

function isNewOrRegular(path: string): boolean {
  try {
    accessSync(`${dirname(path)}/.`, constants.W_OK)
    return lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? true
  } catch (error) {
    const hint = "name a file in a directory that you can write"
    throw new Failure("BAD_FILE", `--trace ${path} cannot be written: ${messageOf(error)}`, {
      ...{ hint, subject: path, cause: error },
    })
  }
}

function microseconds(): number {
  return Math.round(performance.now() * 1000)
}
