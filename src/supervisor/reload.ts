import { inOneLine, isFailure, messageOf } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { parseSpec } from "../inputs/plugin/definition.ts"
import { LOAD_MAX_MS, loadPlugin } from "../inputs/plugin/load.ts"
import { nameFromFile, type ResolvedPlugin } from "../inputs/plugin/resolved.ts"
import { specOfRecord } from "../inputs/plugin/specOfRecord.ts"
import { trustAgain, trustOf } from "../inputs/plugin/trust.ts"
import type { Spec } from "../inputs/schema/vm.ts"
import type { VmRecord } from "../store/state/records.ts"
import { ownerOf, requestOf } from "../vm/request.ts"
import type { PluginHost } from "./hooks/pluginHost.ts"

/**
 * What a VM on record was made of: its spec, and its plugin's hooks if the file has not changed since. Where it has, or
 * cannot be loaded, a warning says so and there are no hooks: the VM is cleaned up all the same.
 */
export async function reloadPlugin(
  { log, watchdog }: Pick<PluginHost, "log" | "watchdog">,
  record: VmRecord,
  withHooks: boolean,
): Promise<ResolvedPlugin> {
  const source = { path: record.plugin_path, text: "" }
  const unloaded = { source, spec: {}, hooks: [], sha256: record.plugin_sha256 }
  const owner = ownerOf(record)
  if (withHooks && owner !== undefined)
    log.warn(`its hooks are not run: they are uid ${owner}'s, and run in that user's own process only`)
  const loaded = withHooks && owner === undefined ? await reload(record, log, watchdog) : undefined
  const { spec, written } = readSpec(record, log)
  return { loaded: loaded ?? unloaded, spec: { ...spec, name: record.name }, written }
}

/** How many bytes of its console a VM keeps; the default where its spec cannot be read. */
export function consoleLimitOf(record: VmRecord): number {
  const silent = { warn: () => {} }
  return readSpec(record, silent).spec.console.limit
}

// --- internal ---

async function reload(
  record: VmRecord,
  log: Log,
  watchdog: PluginHost["watchdog"],
): Promise<ResolvedPlugin["loaded"] | undefined> {
  const trust = trustAgain(trustOf(process.geteuid?.() ?? 0, process.env.SUDO_UID), requestOf(record).asker)
  try {
    return await watchdog.guardFrom("the plugin's top-level code", LOAD_MAX_MS, (beforeCode) =>
      loadPlugin(record.plugin_path, trust, { known: record.plugin_sha256, beforeCode }),
    )
  } catch (error) {
    const why = isFailure(error) ? inOneLine(error) : messageOf(error)
    log.warn(`its hooks are not run: ${why}`)
    return undefined
  }
}

/** The spec on the record. One that cannot be read is replaced by the defaults: only its limits matter by now. */
function readSpec(record: VmRecord, log: Pick<Log, "warn">): { spec: Spec; written: ResolvedPlugin["written"] } {
  try {
    return { spec: specOfRecord(record), written: JSON.parse(record.spec) }
  } catch (error) {
    log.warn(`its spec on record cannot be read (${messageOf(error)}): its own time limits do not hold`)
    const written = { name: nameFromFile(record.plugin_path), kernel: "/" }
    return { spec: parseSpec(written, { path: record.plugin_path, text: "" }), written }
  }
}
