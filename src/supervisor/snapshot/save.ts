import { basename, dirname, resolve } from "node:path"
import type { VmNetwork } from "banger"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { close, mkdirAt, openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type Api, openApi } from "../../host/firecracker/api.ts"
import { API_SOCKET } from "../../host/firecracker/argv.ts"
import { INSTANCE, PRESENT } from "../../host/firecracker/replies.ts"
import { PAUSE, RESUME } from "../../host/firecracker/requests.ts"
import { processLiveness } from "../../host/process/identity.ts"
import { specOfRecord } from "../../inputs/plugin/specOfRecord.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { removeTree } from "../../store/files/removeTree.ts"
import { replaceFile } from "../../store/files/replaceFile.ts"
import type { ProcessIdentity, Resource } from "../../store/state/handles.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { findRecord, type VmRecord } from "../../store/state/records.ts"
import { moveBaseline } from "../../store/state/restores.ts"
import { openControlSocket, openJailRoot, orRemoved } from "../../vm/controlSocket.ts"
import { entryOf } from "../../vm/journal.ts"
import { recallNetwork } from "../../vm/network.ts"
import { isChanging } from "../changes/settle.ts"
import { requireBase } from "./base.ts"
import { copyDisk } from "./jailFiles.ts"
import { type Manifest, manifestPath, type Snapshot, savedDisk } from "./manifest.ts"
import { layBase, type WrittenMemory, writeMemory } from "./memory.ts"
import { requireNewPlace } from "./place.ts"
import { requireOwnCards, requireSavable, requireStaged } from "./savable.ts"

// The room snapshot: saves a running VM to a directory, and says what such a directory holds.
// The rule: all that is saved is of one moment, and a directory without a manifest is not a snapshot.

/** How long Firecracker may take to write the guest's memory. */
const SAVE_MAX_MS = 10 * 60_000

/** Where to save a VM. */
export interface SaveOptions {
  /** The directory to make. */
  readonly dir: string
  /** The VM's last snapshot: only the memory that changed since is written, on a copy of that one's. */
  readonly base?: string | undefined
}

/**
 * Saves a running Firecracker VM to a new directory: its state, its memory, and the private copies of its disks, all of
 * one moment. The VM is paused meanwhile, and resumed whatever happens. Throws a failure, and leaves no directory, when it
 * cannot be saved.
 */
export async function snapshotVm(state: State, reference: string, { dir, base }: SaveOptions): Promise<VmRecord> {
  const record = findRecord(state.db, reference)
  if (record.vmm !== "firecracker")
    throw new Failure("UNSUPPORTED", `${record.name} runs on ${record.vmm}, which has no snapshots here`, {
      hint: 'run it with vmm: "firecracker"',
      subject: record.id,
    })
  // A VM that is stopping still runs in its preStop hooks.
  if (record.state !== "running" && record.state !== "stopping")
    throw new Failure("WRONG_STATE", `${record.name} is ${record.state}, not running`, { subject: record.id })
  requireNewPlace(resolve(dir))
  requireSavable(specOfRecord(record, ["kernel", "firecracker", "drives"]))
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
    const socket = orRemoved(record.id, API_SOCKET, () => openControlSocket(root, API_SOCKET, identity))
    try {
      const spec = specOfRecord(record, ["kernel", "memory", "drives", "network", "firecracker"])
      const network = recallNetwork({ id: record.id, db: state.db, layout }, spec.network)
      const unchanged = () => {
        // What changes meanwhile would be saved with what it no longer has.
        const now = recall(findRecord(state.db, record.id), layout.handles)
        if (!isChanging(now.journal) && now.generation === generation) return
        const hint = "save it again when that is done"
        throw new Failure("WRONG_STATE", `a drive or a network card of ${record.name} is being changed`, {
          hint,
          subject: record.id,
        })
      }
      const api = openApi(`/proc/self/fd/${socket}`, SAVE_MAX_MS)
      const { vmm_version } = await api.request(INSTANCE)
      const on = base === undefined ? undefined : requireBase(base, { record, spec, version: vmm_version })
      unchanged()
      const { drives, "network-interfaces": cards } = await api.request(PRESENT)
      requireStaged(drives)
      requireOwnCards(cards, spec)
      const present = drives.map(({ drive_id }) => drive_id)
      await save(api, state, {
        root,
        record,
        dir: resolve(dir),
        network,
        spec,
        base: on,
        version: vmm_version,
        unchanged,
        present,
      })
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
  readonly network: VmNetwork | undefined
  readonly spec: Pick<Spec, "drives">
  readonly base: Snapshot | undefined
  /** Firecracker's. */
  readonly version: string
  /** Throws a failure when its drives are, or were meanwhile, given other files. */
  readonly unchanged: () => void
  /** The ids of the drives that it has: one of the spec may have been taken out. */
  readonly present: readonly string[]
}

async function save(api: Api, { db }: State, saving: Saving): Promise<void> {
  const { record, dir, base } = saving
  const manifest = manifestOf(saving)
  const target = makeDirectory(dir)
  let memory: WrittenMemory | undefined
  try {
    using laid = base && (await layBase(saving.root, base))
    // From here on the VMM counts changes anew: only who ends what it began knows since when.
    if (!moveBaseline(db, record.id, { from: base?.id, to: `begun ${manifest.id}` })) throw savedMeanwhile(record)
    memory = await standingStill(api, saving, async () => {
      const written = await writeMemory(api, saving.root, laid)
      memory = written
      await saveDisks(saving, target)
      saving.unchanged()
      return written
    })
    await memory.copyTo(target)
    replaceFile(manifestPath(dir), `${JSON.stringify(manifest)}\n`)
    const last = moveBaseline(db, record.id, { from: `begun ${manifest.id}`, to: manifest.id })
    if (!last && base !== undefined) throw savedMeanwhile(record)
  } catch (error) {
    withDescriptor(openAt(AT_FDCWD, dirname(dir), O.PATH | O_DIRECTORY), (parent) => removeTree(parent, basename(dir)))
    throw error
  } finally {
    memory?.close()
    close(target)
  }
}

function savedMeanwhile({ id, name }: VmRecord): Failure {
  const hint = "take one snapshot at a time, each on the one before it"
  return new Failure("BUSY", `another snapshot of ${name} was begun meanwhile`, { subject: id, hint })
}

/** Does work while the VM is paused. Throws a failure when it was resumed before the end. */
async function standingStill<T>(api: Api, { record, unchanged }: Saving, work: () => Promise<T>): Promise<T> {
  const { state } = await api.request(INSTANCE)
  await api.request(PAUSE)
  try {
    const result = await work()
    unchanged()
    const { state: now } = await api.request(INSTANCE)
    if (now === "Paused") return result
    const hint = "something else resumed it, for example a stop: save it again"
    const message = `${record.name} was resumed before all of it was saved`
    throw new Failure("WRONG_STATE", message, { hint, subject: record.id })
  } finally {
    // A VM that was paused before stays paused.
    if (state !== "Paused") await api.request(RESUME)
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

async function saveDisks({ root, spec, present }: Saving, target: number): Promise<void> {
  for (const [index, drive] of spec.drives.entries()) {
    const name = savedDisk(index)
    const isThere = present.includes(drive.id ?? name)
    if (isThere && !drive.readonly) await copyDisk({ dir: root, name }, { dir: target, name })
  }
}

function manifestOf({ record, network, version }: Saving): Manifest {
  const [, major, minor] = /(\d+)\.(\d+)/.exec(version) ?? []
  const { name } = record
  return {
    ...{ schema: 2, vmm: "firecracker", version: [Number(major), Number(minor)], name, takenAt: Date.now() },
    ...{ id: crypto.randomUUID(), network: cardOf(network) },
  }
}

function cardOf(network: VmNetwork | undefined): Manifest["network"] {
  const { address, mac } = network ?? {}
  return mac === undefined ? null : { ...(address === undefined ? {} : { address }), mac }
}
