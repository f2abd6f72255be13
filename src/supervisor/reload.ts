import { inOneLine, isFailure, messageOf } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { parseSpec } from "../inputs/plugin/definition.ts"
import { loadPlugin } from "../inputs/plugin/load.ts"
import { nameFromFile, type ResolvedPlugin } from "../inputs/plugin/resolved.ts"
import { trustOf } from "../inputs/plugin/trust.ts"
import type { VmRecord } from "../store/state/records.ts"
import { requestOf } from "../vm/request.ts"

/**
 * What a VM on record was made of: its spec, and its plugin's hooks, when the file is still the very one. Where it is not,
 * or cannot be loaded, that is reported, and there are no hooks: the VM is cleaned up all the same.
 */
export async function reloadPlugin(record: VmRecord, withHooks: boolean, log: Log): Promise<ResolvedPlugin> {
  const source = { path: record.plugin_path, text: "" }
  const known = { source, spec: {}, hooks: [], sha256: record.plugin_sha256 }
  const loaded = withHooks ? await reload(record, log) : undefined
  const written = specOf(record, log)
  const { kernel, ...spec } = parseSpec(written, source)
  return { loaded: loaded ?? known, spec: { ...spec, kernel, name: record.name }, written }
}

/** How many bytes of its console a VM keeps; the default where its spec cannot be read. */
export function consoleLimitOf(record: VmRecord): number {
  const silent = { warn: () => {} }
  return parseSpec(specOf(record, silent), { path: record.plugin_path, text: "" }).console.limit
}

// --- internal ---

async function reload(record: VmRecord, log: Log): Promise<ResolvedPlugin["loaded"] | undefined> {
  const { asker } = requestOf(record)
  const own = trustOf(process.geteuid?.() ?? 0, process.env.SUDO_UID)
  const trust = own.uids && asker ? { uids: [...own.uids, asker.uid], known: new Set(asker.files) } : own
  try {
    return await loadPlugin(record.plugin_path, trust, record.plugin_sha256)
  } catch (error) {
    const why = isFailure(error) ? inOneLine(error) : messageOf(error)
    log.warn(`its hooks are not run: ${why}`)
    return undefined
  }
}

/** A record of another version may hold what cannot be read: then the defaults must do, of which only limits matter here. */
function specOf(record: VmRecord, log: Pick<Log, "warn">): Readonly<Record<string, unknown>> {
  try {
    const spec: unknown = JSON.parse(record.spec)
    parseSpec(spec, { path: record.plugin_path, text: "" })
    return spec as Readonly<Record<string, unknown>>
  } catch (error) {
    log.warn(`its spec on record cannot be read (${messageOf(error)}): its own time limits do not hold`)
    return { name: nameFromFile(record.plugin_path), kernel: "/" }
  }
}
