import { replaceFile } from "../state/atomic.ts"

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
  /** Chrome trace events (Trace Event Format, "X" complete events), for Perfetto. */
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
    write: (path) => replaceFile(path, JSON.stringify(traceEvents(spans, process.pid))),
  }
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

function microseconds(): number {
  return Math.round(performance.now() * 1000)
}
