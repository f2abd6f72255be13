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
import { Failure } from "../../base/terms/failure.ts"
import { jailPath } from "../../base/terms/path.ts"
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
import { isChanging } from "../changes/settle.ts"
import { type Manifest, manifestPath, savedDisk } from "./manifest.ts"
import { requireSavable } from "./savable.ts"

// The room snapshot: saves a running VM to a directory, and says what such a directory holds.
// The rule: all that is saved is of one moment, and a directory without a manifest is not a snapshot.

/** How long Firecracker may take to write the guest's memory. */
const SAVE_MAX_MS = 10 * 60_000

/**
 * Saves a running Firecracker VM to a new directory: its state, its memory, and the private copies of its disks, all of
 * one moment. The VM is paused meanwhile, and resumed whatever happens. Throws a failure, and leaves no directory, when it
 * cannot be saved.
 */
export async function snapshotVm(state: State, reference: string, dir: string): Promise<VmRecord> {
  const record = findRecord(state.db, reference)
  if (record.vmm !== "firecracker")
    throw new Failure("UNSUPPORTED", `${record.name} runs on ${record.vmm}, which has no snapshots here`, {
      hint: 'run it with vmm: "firecracker"',
      subject: record.id,
    })
  // A VM that is stopping still runs in its preStop hooks.
  if (record.state !== "running" && record.state !== "stopping")
    throw new Failure("WRONG_STATE", `${record.name} is ${record.state}, not running`, { subject: record.id })
  requireSavable(specOfRecord(record, ["kernel", "firecracker"]))
  const layout = vmLayout(state.where, record.id)
  const { journal: resources, generation } = recall(record, layout.handles)
  const identity = identityOf(record, resources)
  using vmm = processLiveness(identity)
  if (vmm.is !== "alive") {
    const code = vmm.is === "dead" ? "WRONG_STATE" : "LIVENESS_UNKNOWN"
    throw new Failure(code, `${record.name} cannot be saved: ${vmm.why}`, { subject: record.id })
  }
  const root = openJailRoot(layout, resources)
  try {
    const socket = openControlSocket(root, API_SOCKET, identity)
    try {
      const unchanged = () => {
        // A drive that changes meanwhile would be saved with the file that it no longer has.
        const now = recall(findRecord(state.db, record.id), layout.handles)
        if (!isChanging(now.journal) && now.generation === generation) return
        const hint = "save it again when that is done"
        throw new Failure("WRONG_STATE", `a drive of ${record.name} is being changed`, { hint, subject: record.id })
      }
      unchanged()
      await save(openApi(`/proc/self/fd/${socket}`, SAVE_MAX_MS), { root, record, dir, unchanged })
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
  throw new Failure("LIVENESS_UNKNOWN", `it is not known which process ${record.name} is`, { subject: record.id })
}

/** What is saved, and where to. */
interface Saving {
  /** The jail's root (O_PATH). */
  readonly root: number
  readonly record: VmRecord
  readonly dir: string
  /** Throws a failure when its drives are, or were meanwhile, given other files. */
  readonly unchanged: () => void
}

async function save(api: Api, { root, record, dir, unchanged }: Saving): Promise<void> {
  const target = makeDirectory(dir)
  try {
    const { vmm_version, state } = await api.request(INSTANCE)
    await api.request(PAUSE)
    try {
      await saveMemory(api, root, target)
      await saveDisks(root, target, record)
      const { state: now } = await api.request(INSTANCE)
      if (now !== "Paused") {
        const hint = "something else resumed it, for example a stop: save it again"
        const message = `${record.name} was resumed before all of it was saved`
        throw new Failure("WRONG_STATE", message, { hint, subject: record.id })
      }
      unchanged()
    } finally {
      // A VM that was paused before stays paused.
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
    throw new Failure("BAD_FILE", `${dir} is there already`, {
      hint: "name a directory that is not there yet",
      subject: dir,
      cause: error,
    })
  }
  return openAt(AT_FDCWD, dir, O.PATH | O_DIRECTORY | O_NOFOLLOW)
}

/** The VMM can write only in its jail: both files are copied from there, then removed. */
async function saveMemory(api: Api, root: number, target: number): Promise<void> {
  const mark = crypto.randomUUID().slice(0, 8)
  const names = { state: `state-${mark}`, memory: `memory-${mark}` }
  try {
    const files = { state: jailPath(`/${names.state}`), memory: jailPath(`/${names.memory}`) }
    await api.request(snapshotRequest(files))
    await copyOut({ dir: root, name: names.state }, { dir: target, name: "state" })
    await copyOut({ dir: root, name: names.memory }, { dir: target, name: "memory" })
  } finally {
    for (const name of Object.values(names)) ignoring(["ENOENT"], () => unlinkAt(root, name))
  }
}

async function saveDisks(root: number, target: number, record: VmRecord): Promise<void> {
  const { drives } = specOfRecord(record, ["kernel", "drives"])
  for (const [index, drive] of drives.entries()) {
    const name = savedDisk(index)
    if (!drive.readonly) await copyOut({ dir: root, name }, { dir: target, name })
  }
}

/** A name in an open directory. */
interface Entry {
  readonly dir: number
  readonly name: string
}

/** Copies a regular file out of the jail. Throws a failure for a symlink, or a file that has another name too. */
async function copyOut({ dir, name }: Entry, target: Entry): Promise<void> {
  const from = openBeneath(dir, name, O.RDONLY | O.NONBLOCK | O_NOFOLLOW)
  try {
    const stat = statDescriptor(from)
    // A block device's content is the host's, and stays there.
    if (isType(stat, S.IFBLK)) return
    if (!isType(stat, S.IFREG) || stat.nlink !== 1)
      throw new Failure("CHANGED", `${name} in the jail is not a file of its own`, { subject: name })
    const to = openBeneath(target.dir, target.name, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o644)
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
