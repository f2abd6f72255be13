import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode, ignoring } from "../../base/linux/errors.ts"
import {
  close,
  isType,
  mkdirAt,
  openAt,
  openBeneath,
  statDescriptor,
  unlinkAt,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, usageError } from "../../base/terms/failure.ts"
import { type Api, openApi } from "../../host/firecracker/api.ts"
import { API_SOCKET } from "../../host/firecracker/argv.ts"
import { INSTANCE } from "../../host/firecracker/replies.ts"
import { PAUSE, RESUME, snapshotRequest } from "../../host/firecracker/requests.ts"
import { processLiveness } from "../../host/process/identity.ts"
import { specOfRecord } from "../../inputs/plugin/specOfRecord.ts"
import { copyContent } from "../../store/files/copyContent.ts"
import { removeTree } from "../../store/files/removeTree.ts"
import { replaceFile } from "../../store/files/replaceFile.ts"
import type { ProcessIdentity, Resource } from "../../store/state/handles.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { findRecord, type VmRecord } from "../../store/state/records.ts"
import { openControlSocket, openJailRoot } from "../../vm/controlSocket.ts"
import { entryOf } from "../../vm/journal.ts"
import { type Manifest, manifestPath, savedDisk } from "./manifest.ts"

/** Writing a guest's memory takes its time, in milliseconds. */
const SAVE_MAX_MS = 10 * 60_000

/**
 * Saves a running Firecracker VM to a new directory: its state, its memory, and the private copies of its disks, all of
 * one moment. The VM stands still meanwhile and goes on afterwards, whatever happens. Throws a failure, with no
 * directory left, when it cannot be done.
 */
export async function snapshotVm(state: State, reference: string, dir: string): Promise<VmRecord> {
  const record = findRecord(state.db, reference)
  if (record.vmm !== "firecracker")
    throw usageError(`${record.name} runs on ${record.vmm}, which has no snapshots here`)
  // In preStop it still runs.
  if (record.state !== "running" && record.state !== "stopping")
    throw usageError(`${record.name} is ${record.state}, not running`)
  const layout = vmLayout(state.where, record.id)
  const resources = recall(record, layout.handles).journal
  const identity = identityOf(record, resources)
  using truth = processLiveness(identity)
  if (truth.is !== "alive") throw new Failure("FAILED", `${record.name} cannot be saved: ${truth.why}`)
  const root = openJailRoot(layout, resources)
  try {
    const socket = openControlSocket(root, API_SOCKET, identity)
    try {
      await save(openApi(`/proc/self/fd/${socket}`, SAVE_MAX_MS), root, record, dir)
    } finally {
      close(socket)
    }
  } finally {
    close(root)
  }
  return record
}

// --- internal ---

function identityOf(record: VmRecord, resources: readonly Resource[]): ProcessIdentity {
  const identity = entryOf(resources, "process")?.identity
  if (identity) return identity
  throw new Failure("FAILED", `it is not known which process ${record.name} is`)
}

async function save(api: Api, root: number, record: VmRecord, dir: string): Promise<void> {
  const target = makeDirectory(dir)
  try {
    const { vmm_version, state } = await api.request(INSTANCE)
    await api.request(PAUSE)
    try {
      await saveMemory(api, root, target)
      await saveDisks(root, target, record)
      const { state: now } = await api.request(INSTANCE)
      if (now !== "Paused") {
        const hint = "something else let it go on, a stop for one: save it again"
        throw new Failure("FAILED", `${record.name} went on before all of it was saved`, { hint })
      }
    } finally {
      // One that stood still before goes on doing so.
      if (state !== "Paused") await api.request(RESUME)
    }
    replaceFile(manifestPath(dir), `${JSON.stringify(manifestOf(record, vmm_version))}\n`)
  } catch (error) {
    withDescriptor(openAt(AT_FDCWD, dirname(dir), O.PATH | O_DIRECTORY), (parent) => removeTree(parent, basename(dir)))
    throw error
  } finally {
    close(target)
  }
}

function makeDirectory(dir: string): number {
  try {
    mkdirAt(AT_FDCWD, dir, 0o700)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    throw usageError(`${dir} is there already`, "name a directory that is not")
  }
  return openAt(AT_FDCWD, dir, O.PATH | O_DIRECTORY | O_NOFOLLOW)
}

/** The VMM can write only in its jail: from there both files are copied, and removed. */
async function saveMemory(api: Api, root: number, target: number): Promise<void> {
  const mark = crypto.randomUUID().slice(0, 8)
  const names = { state: `state-${mark}`, memory: `memory-${mark}` }
  try {
    await api.request(snapshotRequest({ state: `/${names.state}`, memory: `/${names.memory}` }))
    await copyOut(root, names.state, target, "state")
    await copyOut(root, names.memory, target, "memory")
  } finally {
    for (const name of Object.values(names)) ignoring(["ENOENT"], () => unlinkAt(root, name))
  }
}

async function saveDisks(root: number, target: number, record: VmRecord): Promise<void> {
  const { drives } = specOfRecord(record, ["kernel", "drives"])
  for (const [index, drive] of drives.entries()) {
    if (!drive.readonly) await copyOut(root, savedDisk(index), target, savedDisk(index))
  }
}

/** Copies a regular file out of the jail; a name that leads elsewhere, or has another, is not followed. */
async function copyOut(root: number, name: string, target: number, as: string): Promise<void> {
  const from = openBeneath(root, name, O.RDONLY | O.NONBLOCK | O_NOFOLLOW)
  try {
    const stat = statDescriptor(from)
    // A block device's node: what is on it is the host's, and stays there.
    if (isType(stat, S.IFBLK)) return
    if (!isType(stat, S.IFREG) || stat.nlink !== 1)
      throw new Failure("FAILED", `${name} in the jail is not a file of its own`)
    const to = openBeneath(target, as, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o644)
    try {
      await copyContent(from, to, { signal: new AbortController().signal })
    } finally {
      close(to)
    }
  } finally {
    close(from)
  }
}

function manifestOf(record: VmRecord, version: string): Manifest {
  const [, major, minor] = /(\d+)\.(\d+)/.exec(version) ?? []
  const { name } = record
  return { schema: 1, vmm: "firecracker", version: [Number(major), Number(minor)], name, takenAt: Date.now() }
}
