import type { Database } from "bun:sqlite"
import { ignoring } from "../base/linux/errors.ts"
import { ownNamespace } from "../host/process/procfs.ts"
import { type Generation, type Resource, writeHandles } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import { mirrorJournal } from "../store/state/records.ts"
import { freeUid } from "../store/state/uids.ts"

/** A VM's journal: what the host must get back, written down before it is acquired. */
export interface Journal {
  readonly db: Database
  readonly resources: readonly Resource[]
  /** Writes resources down, in the order they are about to be acquired. */
  acquire(...resources: readonly Resource[]): void
  /** Writes it down anew in both places, when one of them was lost. */
  mend(): void
  /** Replaces the entry of the same kind with what is now known of it. */
  refine(resource: Resource): void
  /** Keeps only these: the others are proven gone. With its jail a VM gives back its uid. */
  keepOnly(resources: readonly Resource[]): void
}

/** Opens the journal of a VM, with what it holds already. Each change is in handles.json and on the record. */
export function openJournal(
  db: Database,
  { id, handles }: Pick<VmLayout, "id" | "handles">,
  initial: Generation = NEW,
): Journal {
  let resources = initial.journal
  let generation = initial.generation
  const write = (next: readonly Resource[]) => writeHandles(handles, ++generation, next)
  const change = (next: readonly Resource[], toFile = write) => {
    toFile(next)
    mirrorJournal(db, id, { generation, journal: next })
    resources = next
  }
  return {
    db,
    get resources() {
      return resources
    },
    mend: () => change(resources),
    acquire: (...added) => change([...resources, ...added.map(withNamespace)]),
    refine: (resource) => change(resources.map((old) => (old.kind === resource.kind ? resource : old))),
    keepOnly(kept) {
      // A VM that was cut short as it was made or removed may have no directory: its record says it all.
      change(kept, (next) => ignoring(["ENOENT"], () => write(next)))
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

const NEW: Generation = { generation: 0, journal: [] }

/** A process that is about to be started has no identity yet that tells its PID namespace. */
function withNamespace(resource: Resource): Resource {
  if (resource.kind !== "process" || resource.identity !== null) return resource
  const pidNamespace = ownNamespace("pid")
  return pidNamespace === undefined ? resource : { ...resource, pidNamespace }
}
