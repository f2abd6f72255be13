import { existsSync, readdirSync } from "node:fs"
import { basename } from "node:path"
import { O, S } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, isType, openAt, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { attachLoop, detachLoop, freeLoop, type LoopStatus, loopStatus } from "../../base/linux/loops.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { KeptThing } from "../../store/kept/thing.ts"

/** A loop device on a journal. */
export type KeptLoop = Extract<KeptThing, { kind: "loop" }>

/** What a loop device is made of. */
export interface LoopWish {
  readonly file: string
  readonly readonly: boolean
  readonly offset: number
  /** 0: to the file's end. */
  readonly sizeLimit: number
}

/** How often another process may take a free device before we do. */
const TRIES_COUNT = 64

/** A loop device that is still to be made, and what makes it. Throws BAD_FILE for what is no regular file. The caller disposes of it. */
export function planLoop(wish: LoopWish, label: string): { thing: KeptLoop; make: () => KeptLoop } & Disposable {
  const { file: path, readonly, offset, sizeLimit } = wish
  const fd = openFile(path, readonly ? O.RDONLY : O.RDWR)
  using unlessPlanned = new DisposableStack()
  unlessPlanned.defer(() => withDescriptor(fd, () => {}))
  const stat = statDescriptor(fd)
  if (!isType(stat, S.IFREG)) throw noFile(path)
  const thing = { kind: "loop", file: path, backing: inodeOf(stat), label, device: null } as const
  const make = () => {
    for (let tries = 0; tries < TRIES_COUNT; tries++) {
      const device = `/dev/loop${freeLoop()}`
      const taken = withLoop(device, O.RDWR, (loop) => {
        try {
          attachLoop(loop, { file: fd, label, readonly, offset, sizeLimit })
          return false
        } catch (error) {
          if (errorCode(error) !== "EBUSY") throw error
          return true
        }
      })
      if (taken === false) return { ...thing, device }
      if (taken === undefined) throw noNode(device)
    }
    throw new Failure("BUSY", "others take each loop device that is free", { subject: path })
  }
  const held = unlessPlanned.move()
  return { thing, make, [Symbol.dispose]: () => held.dispose() }
}

/** The loop devices that are this one: one at most, unless its device was never written down. Throws LIVENESS_UNKNOWN. */
export function findLoops(thing: KeptLoop): readonly string[] {
  const candidates = thing.device === null ? loopDevices() : [thing.device]
  return candidates.filter((device) => isSame(thing, statusOf(device)))
}

/**
 * Detaches a loop device, if it is still this one: it is looked at and detached by one descriptor, as long as which is open nobody can
 * give the device another file. A device that has another file by now is not touched.
 */
export function releaseLoop(thing: KeptLoop): void {
  for (const device of findLoops(thing))
    withLoop(device, O.RDONLY, (loop) => {
      if (isSame(thing, statusIn(loop))) detachLoop(loop)
    })
}

// --- internal ---

function openFile(path: string, flags: number): number {
  try {
    return openNamed(path, flags | O.NONBLOCK)
  } catch (error) {
    const code = errorCode(error) ?? ""
    if (code === "EISDIR") throw noFile(path)
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error
    throw new Failure("BAD_FILE", `there is no file ${path}`, { subject: path })
  }
}

function noFile(path: string): Failure {
  return new Failure("BAD_FILE", `${path} is not a regular file`, { subject: path })
}

function isSame({ backing, label }: KeptLoop, status: LoopStatus | undefined): boolean {
  return status !== undefined && status.backing === backing && status.label === label
}

function statusOf(device: string): LoopStatus | undefined {
  requireNode(device)
  return withLoop(device, O.RDONLY, statusIn)
}

/** Throws LIVENESS_UNKNOWN for a device that has a file, and that this process has no node of. */
function requireNode(device: string): void {
  if (existsSync(device) || !existsSync(`/sys/block/${basename(device)}/loop`)) return
  throw new Failure("LIVENESS_UNKNOWN", `there is no ${device} to look at, and it has a file`, { subject: device })
}

/** Undefined where it has no file. */
function statusIn(loop: number): LoopStatus | undefined {
  return unlessAbsent(() => loopStatus(loop), ["ENXIO"])
}

/** Undefined where there is no such device. */
function withLoop<T>(device: string, flags: number, use: (loop: number) => T): T | undefined {
  const loop = unlessAbsent(() => openAt(AT_FDCWD, device, flags | O.NONBLOCK), ["ENOENT", "ENXIO"])
  return loop === undefined ? undefined : withDescriptor(loop, use)
}

function loopDevices(): readonly string[] {
  return readdirSync("/sys/block")
    .filter((name) => /^loop\d+$/.test(name))
    .map((name) => `/dev/${name}`)
}

function noNode(device: string): Failure {
  const hint = `make it: mknod ${device} b 7 ${device.slice("/dev/loop".length)}`
  return new Failure("HOST_LACKS", `there is no ${device}`, { hint, subject: "loop" })
}
