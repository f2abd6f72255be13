import type { State } from "../store/state/open.ts"
import { findRecord } from "../store/state/records.ts"
import { requestOf } from "../vm/request.ts"

/** The words of `banger run` that run a VM's plugin again as it was asked for, under the same name and by the same VMM. */
export function rerunArgv({ db }: State, reference: string): readonly string[] {
  const record = findRecord(db, reference)
  const { args } = requestOf(record)
  const words = [`--name=${record.name}`, `--vmm=${record.vmm}`, record.plugin_path]
  return args.length === 0 ? words : [...words, "--", ...args]
}
