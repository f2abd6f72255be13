import { mkdirSync } from "node:fs"
import * as v from "valibot"
import { O, O_NOFOLLOW } from "../base/linux/constants.ts"
import { readStart, seek, setLength, writeAll } from "../base/linux/content.ts"
import { errorCode } from "../base/linux/errors.ts"
import { keepOnExec } from "../base/linux/exec.ts"
import { close, inodeOf, openAt, statDescriptor, statPath, tryFlock, withDescriptor } from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import { identifySelf, processLiveness, surelyRuns } from "../host/process/identity.ts"
import { closing, type PidRef } from "../host/process/pidRef.ts"
import { takeLock } from "../store/files/lock.ts"
import { type ProcessIdentity, processIdentitySchema } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"

/** What a process does with a VM that it has locked. */
export type Doing = "supervise" | "finish"

/** A VM's lock, which this process has. */
export interface VmLock {
  /** The descriptor that holds it, for the program that takes this one's place in this process. */
  readonly fd: number
  /** Unlocks the VM. To call it twice is fine. */
  unlock(): void
}

/** Who has locked a VM: a process that is proven to run (the caller closes it), nobody, or it cannot be told. */
export type LockHolder = Disposable &
  (
    | { readonly is: "held"; readonly process: PidRef; readonly doing: Doing }
    | { readonly is: "free" }
    | { readonly is: "unknown" }
  )

const holderSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.strictObject({ doing: v.picklist(["supervise", "finish"]), identity: processIdentitySchema }),
)

/** What is written here is smaller. */
const LOCK_FILE_MAX_BYTES = 4096

/** Worked out once: it does not change. */
let self: ProcessIdentity | undefined

/**
 * Locks a VM, and writes into the lock who has it; undefined when another process has. A process changes a VM only while
 * it has locked it, and reads only then what it acts on. `inherited` is the descriptor of a lock that the program before this
 * one held in this process.
 */
export function lockVm(layout: VmLayout, doing: Doing, inherited?: number): VmLock | undefined {
  const fd = inherited === undefined ? open(layout) : inheritedLock(layout, inherited)
  if (fd === undefined) return undefined
  self ??= identifySelf()
  try {
    write(fd, JSON.stringify({ doing, identity: self }))
  } catch {
    // A full or read-only disk: the VM is locked all the same, others just cannot tell by whom.
  }
  let held = true
  const unlock = () => {
    if (!held) return
    held = false
    try {
      // This process runs on, and would be taken for the one that has locked the VM.
      setLength(fd, 0)
    } catch {
      // As above.
    }
    close(fd)
  }
  return { fd, unlock }
}

/** Who has locked a VM, by what is written in its lock, which is not tried. Throws nothing. */
export function lockHolder(layout: VmLayout): LockHolder {
  const holder = readHolder(layout.lock)
  if (holder === undefined) return closing({ is: "unknown" })
  if (holder === "nobody") return closing({ is: "free" })
  using liveness = processLiveness(holder.identity)
  if (liveness.is === "alive") return closing({ is: "held", process: liveness.process.move(), doing: holder.doing })
  return closing({ is: liveness.is === "dead" ? "free" : "unknown" })
}

/**
 * The pid of a VM's supervisor, if it has one, by what is written in its lock, as `lockHolder` tells: quick, for a look at many.
 */
export function supervisorPid(layout: VmLayout): number | undefined {
  const holder = readHolder(layout.lock)
  if (holder === undefined || holder === "nobody" || holder.doing !== "supervise") return undefined
  if (surelyRuns(holder.identity)) return holder.identity.pid
  using liveness = processLiveness(holder.identity)
  return liveness.is === "alive" ? liveness.process.pid : undefined
}

// --- internal ---

/** Makes the VM's directory if need be, and again when another process removes it meanwhile. */
function open(layout: Pick<VmLayout, "dir" | "lock">, tries = 3): number | undefined {
  mkdirSync(layout.dir, { recursive: true, mode: 0o700 })
  try {
    return takeLock(layout.lock)
  } catch (error) {
    if (errorCode(error) !== "ENOENT" || tries === 0) throw error
    return open(layout, tries - 1)
  }
}

/** Throws when the descriptor is not of the VM's lock file. */
function inheritedLock({ lock }: VmLayout, fd: number): number | undefined {
  if (inodeOf(statDescriptor(fd)) !== inodeOf(statPath(lock))) throw new Error(`descriptor ${fd} is not ${lock}`)
  // It was left open for this program; those that this one starts are not to have it.
  keepOnExec([])
  return tryFlock(fd) ? fd : undefined
}

function write(fd: number, text: string): void {
  setLength(fd, 0)
  seek(fd, 0, 0)
  writeAll(fd, new TextEncoder().encode(text))
}

function readHolder(path: string): v.InferOutput<typeof holderSchema> | "nobody" | undefined {
  let text: string
  try {
    text = withDescriptor(openAt(AT_FDCWD, path, O.RDONLY | O_NOFOLLOW | O.NONBLOCK), (fd) =>
      new TextDecoder().decode(readStart(fd, LOCK_FILE_MAX_BYTES)),
    )
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "nobody"
    return undefined
  }
  if (text === "") return "nobody"
  const parsed = v.safeParse(holderSchema, text)
  // A text that is cut off is being written.
  return parsed.success ? parsed.output : undefined
}
