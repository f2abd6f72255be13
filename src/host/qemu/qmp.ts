import * as v from "valibot"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { lineCutter } from "../../base/terms/lines.ts"

/** One line from QEMU: a greeting, an event, an error or the return of a command (QEMU's QMP specification). */
const messageSchema = v.looseObject({
  QMP: v.optional(
    v.looseObject({ version: v.looseObject({ qemu: v.looseObject({ major: v.number(), minor: v.number() }) }) }),
  ),
  event: v.optional(v.string()),
  data: v.optional(v.record(v.string(), v.unknown()), {}),
  error: v.optional(v.looseObject({ desc: v.string() })),
  return: v.optional(v.unknown()),
  id: v.optional(v.number()),
})

/** An event of QEMU's machine protocol, as in its QMP reference. */
export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
}

/** A connection to QEMU's machine protocol. */
export interface Qmp {
  /** QEMU's version (major, minor), once it has greeted and accepted `qmp_capabilities`; rejects when it ends before. */
  readonly ready: Promise<readonly [number, number]>
  /** Resolves when the connection has ended: QEMU has gone or is about to. */
  readonly closed: Promise<void>
  /**
   * The connection's descriptor, for the program that takes this one's place in this process and hears the events from here on;
   * undefined when it has ended, or is in the middle of a line.
   */
  inherit(): number | undefined
  /** Runs one command and returns what it returned. Rejects with QEMU's own words, or when the connection ends. */
  command(name: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>
}

/** A line of QMP is never longer than this. */
const LINE_MAX_BYTES = 1024 * 1024

/** Connects to a QMP socket; `onEvent` hears each event. */
export async function connectQmp(path: string, onEvent: (event: QmpEvent) => void): Promise<Qmp> {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  const greeted = Promise.withResolvers<readonly [number, number]>()
  const closed = Promise.withResolvers<void>()
  const cutter = lineCutter()
  let lastId = 0
  let open = true

  const receive = (line: string) => {
    const { QMP, event, data, error, id, return: result } = v.parse(messageSchema, JSON.parse(line))
    if (QMP !== undefined) greeted.resolve([QMP.version.qemu.major, QMP.version.qemu.minor])
    if (event !== undefined) onEvent({ event, data })
    if (id === undefined) return
    if (error === undefined) waiting.get(id)?.resolve(result)
    else waiting.get(id)?.reject(new Failure("VM_FAILED", `QEMU: ${error.desc}`))
    waiting.delete(id)
  }
  const end = () => {
    open = false
    const what = "QEMU closed its control socket"
    greeted.reject(new Failure("START_FAILED", what))
    const gone = new Failure("VM_FAILED", what)
    for (const call of waiting.values()) call.reject(gone)
    waiting.clear()
    closed.resolve()
  }

  const socket = await Bun.connect({
    unix: path,
    socket: {
      data(socket, chunk) {
        const lines = cutter.cut(chunk)
        try {
          if (cutter.restLength > LINE_MAX_BYTES) throw new Error("line too long")
          for (const line of lines) if (line.trim() !== "") receive(line)
        } catch (error) {
          greeted.reject(new Failure("START_FAILED", `QEMU's control socket does not speak QMP: ${messageOf(error)}`))
          socket.end()
        }
      },
      close: end,
      error: end,
    },
  })

  // A supervisor is idle (`onceIdle`) although an event could come: the VMM's end ends it.
  socket.unref()
  const command = (name: string, args: Readonly<Record<string, unknown>> = {}) => {
    const id = ++lastId
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    waiting.set(id, { resolve, reject })
    const written = socket.write(`${JSON.stringify({ execute: name, arguments: args, id })}\n`)
    if (written <= 0) {
      waiting.delete(id)
      reject(new Failure("VM_FAILED", `QEMU's control socket did not accept ${name}`))
    }
    return promise
  }
  const ready = greeted.promise.then(async (version) => {
    await command("qmp_capabilities")
    return version
  })
  // Whoever awaits it sees the failure; nobody may be waiting when QEMU ends early.
  ready.catch(() => {})
  // Bun has it, its types do not.
  const { fd } = socket as typeof socket & { readonly fd?: number }
  const inherit = () => (open && cutter.restLength === 0 ? fd : undefined)
  return { ready, closed: closed.promise, inherit, command }
}
