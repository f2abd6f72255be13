import { dirname } from "node:path"
import { bootId } from "../../base/linux/bootId.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import type { VmLayout } from "./places.ts"

/** The symlink in a VM's runtime directory whose text is the mark. One call makes it whole; it leads nowhere. */
export const RUNTIME_MARK = ".owner"

/**
 * The mark on things that lie where bangers with other state directories have theirs too: it names the boot, the state
 * directory's `device:inode`, and its path.
 */
export function markOf({ jails }: Pick<VmLayout, "jails">): string {
  const state = dirname(jails)
  return `${bootId()} ${inodeOf(statPath(state))} ${state}`
}

/**
 * The owner that a mark names: us, another banger by its state directory, or nobody. A state directory of our path is
 * ours only if it has our inode too; device numbers last as long as the boot.
 */
export function ownerOfMark(mark: string | undefined, state: string): "ours" | "nobody" | { readonly other: string } {
  const [, boot, inode, path] = /^([0-9a-f-]{36}) (\d+:\d+:\d+) (\/.*)$/s.exec(mark ?? "") ?? []
  if (path === undefined) return "nobody"
  if (path !== state) return { other: path }
  return boot !== bootId() || inode === inodeOf(statPath(state)) ? "ours" : { other: `${path} of another container` }
}
