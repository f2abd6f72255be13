import type { Database } from "bun:sqlite"
import { ignoring } from "../base/linux/errors.ts"
import { ownNamespace } from "../host/process/procfs.ts"
import { keptOnDisk } from "../store/kept/thing.ts"
import { type Generation, type Resource, writeHandles } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import { mirrorJournal } from "../store/state/records.ts"
import { freeUid } from "../store/state/uids.ts"

/** A VM's journal: every resource that the host must get back, each written down before it is acquired. */
export interface Journal {
  readonly db: Database
  readonly resources: readonly Resource[]
  /**
   * Writes resources down that are acquired next, in this order; a network that a VMM is to use, and what a plugin keeps for it,
   * come before its process, so that they are released after that has ended.
   */
  acquire(...resources: readonly Resource[]): void
  /** Writes the journal again to both of its places: one may have been lost. */
  mend(): void
  /** Replaces the entry of the same kind, and for the same network card or of the same number: more is known of the resource now. */
  refine(resource: Resource): void
  /** Keeps only these: the others are proven gone. Once the jail is, the VM's uid is free again. */
  keepOnly(resources: readonly Resource[]): void
}

/**
 * Opens a VM's journal, with what it holds already. A change goes to handles.json first, then to the record. Of handles.json and
 * the generation before it a loss of power leaves one at least, and whatever names a thing that outlives it; of the first
 * generation, and of the VM itself, the record.
 */
export function openJournal(
  db: Database,
  { id, handles }: Pick<VmLayout, "id" | "handles">,
  initial: Generation = NEW,
): Journal {
  let resources = initial.journal
  let generation = initial.generation
  // Whether a loss of power leaves what is written last. The file before it does, when it does not.
  let lasts = false
  const write = (next: readonly Resource[], lasting: boolean) => {
    // With the first generation the record is made to last, which tells of the VM: the file need not as well.
    const first = generation === 0
    writeHandles(handles, { generation: ++generation, journal: next }, { lasting: !first && (lasting || !lasts) })
    lasts = lasting || !lasts
  }
  const change = (next: readonly Resource[], { toFile = write, lasting = true }: Change = {}) => {
    toFile(next, lasting)
    mirrorJournal(db, id, { generation, journal: next, lasting: generation === 1 })
    resources = next
  }
  return {
    db,
    get resources() {
      return resources
    },
    mend: () => change(resources),
    acquire: (...added) =>
      change(withAdded(resources, added.map(withNamespace)), { lasting: added.some(outlivesPower) }),
    refine: (resource) =>
      change(
        resources.map((old) => (isSame(old, resource) ? resource : old)),
        { lasting: outlivesPower(resource) },
      ),
    keepOnly(kept) {
      // A VM whose making or removing was cut short may have no directory: then the record alone has the journal.
      // After a loss of power an older one may name what is gone: that is found gone once more.
      change(kept, { toFile: (next, lasting) => ignoring(["ENOENT"], () => write(next, lasting)), lasting: false })
      if (!kept.some(({ kind }) => kind === "jail")) freeUid(db, id)
    },
  }
}

/** The first entry of a kind on a journal, if there is one. Pure. */
export function entryOf<K extends Resource["kind"]>(
  resources: readonly Resource[],
  kind: K,
): Extract<Resource, { kind: K }> | undefined {
  return resources.find((resource): resource is Extract<Resource, { kind: K }> => resource.kind === kind)
}

// --- internal ---

/** How the journal is changed. */
interface Change {
  readonly toFile?: (next: readonly Resource[], lasting: boolean) => void
  readonly lasting?: boolean
}

/** Whether a resource is still there after a loss of power: what the kernel holds, or /run, is not. */
function outlivesPower(resource: Resource): boolean {
  const { kind } = resource
  if (kind === "kept") return keptOnDisk(resource.thing)
  return kind !== "process" && kind !== "cgroup" && kind !== "network"
}

function withAdded(resources: readonly Resource[], added: readonly Resource[]): readonly Resource[] {
  const vmm = resources.findIndex(({ kind }) => kind === "process")
  const at = vmm !== -1 && added.every(({ kind }) => kind === "network" || kind === "kept") ? vmm : resources.length
  return resources.toSpliced(at, 0, ...added)
}

function isSame(a: Resource, b: Resource): boolean {
  if (a.kind === "kept" && b.kind === "kept") return a.number === b.number
  return a.kind === b.kind && (a.kind !== "network" || b.kind !== "network" || a.card === b.card)
}

const NEW: Generation = { generation: 0, journal: [] }

/** Until a process has an identity, the entry itself tells in which PID namespace it is started. */
function withNamespace(resource: Resource): Resource {
  if (resource.kind !== "process" || resource.identity !== null) return resource
  const pidNamespace = ownNamespace("pid")
  return pidNamespace === undefined ? resource : { ...resource, pidNamespace }
}
