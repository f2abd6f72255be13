import { close, statDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { jailPath } from "../../base/terms/path.ts"
import type { Api } from "../../host/firecracker/api.ts"
import { snapshotRequest } from "../../host/firecracker/requests.ts"
import { copyIn, copyTo, dropFile, takeFile } from "./jailFiles.ts"
import { type Snapshot, snapshotFiles } from "./manifest.ts"

/** The memory of a base, in the jail. */
export interface LaidBase extends Disposable {
  readonly name: string
  readonly bytes: number
  readonly dir: string
}

/** What the VMM has written, which nothing can change any more by a name. */
export interface WrittenMemory {
  /** Copies it to a snapshot's directory: what is zero in memory becomes holes. */
  copyTo(target: number): Promise<void>
  close(): void
}

/** Copies the memory of a base into the jail: the VMM then writes on it what has changed. `using` removes it. */
export async function layBase(root: number, { dir }: Snapshot): Promise<LaidBase> {
  const name = `memory-${mark()}`
  const laid = { name, dir, [Symbol.dispose]: () => dropFile({ dir: root, name }) }
  try {
    return { ...laid, bytes: await copyIn(snapshotFiles(dir).memory, { dir: root, name }) }
  } catch (error) {
    laid[Symbol.dispose]()
    throw error
  }
}

/** Has the VMM write its state and memory. It can write only in its jail, where both files lose their names at once. */
export async function writeMemory(api: Api, root: number, base: LaidBase | undefined): Promise<WrittenMemory> {
  const names = { state: `state-${mark()}`, memory: base?.name ?? `memory-${mark()}` }
  const taken: number[] = []
  const closeAll = () => taken.splice(0).forEach(close)
  try {
    const files = { state: jailPath(`/${names.state}`), memory: jailPath(`/${names.memory}`) }
    await api.request(snapshotRequest(files, base !== undefined))
    const state = takeFile({ dir: root, name: names.state })
    taken.push(state)
    const memory = takeFile({ dir: root, name: names.memory })
    taken.push(memory)
    // On a file of another length the VMM writes as on an empty one.
    if (base !== undefined && statDescriptor(memory).size !== base.bytes) {
      const message = `base: the memory of ${base.dir} has ${base.bytes} bytes, the VM's has ${statDescriptor(memory).size}`
      throw new Failure("BAD_FILE", message, { subject: base.dir, hint: "leave the base out" })
    }
    return {
      async copyTo(target) {
        await copyTo(state, { dir: target, name: "state" })
        await copyTo(memory, { dir: target, name: "memory" }, { zeros: "holes" })
      },
      close: closeAll,
    }
  } catch (error) {
    closeAll()
    throw error
  } finally {
    for (const name of Object.values(names)) dropFile({ dir: root, name })
  }
}

// --- internal ---

/** The VMM's uid can make names in its jail: it does not know the next one. */
function mark(): string {
  return crypto.randomUUID().slice(0, 8)
}
