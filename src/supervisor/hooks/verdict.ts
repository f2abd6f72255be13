import type { Exit } from "banger"
import { Failure } from "../../base/terms/failure.ts"

/** What a hook sets `ctx.exitCode` to. Throws BAD_PLUGIN for what is no exit status. Pure. */
export function requireExitCode(code: number | undefined): number | undefined {
  if (code === undefined || (Number.isInteger(code) && code >= 0 && code <= 255)) return code
  const message = `ctx.exitCode: ${Bun.inspect(code)} is no whole number from 0 to 255`
  throw new Failure("BAD_PLUGIN", message, { subject: "ctx.exitCode" })
}

/** What postStop hooks make of a run. */
export interface Verdict {
  reason: string | undefined
  exitCode: number | undefined
}

/**
 * Hears a plugin that names its exit status as programs do, unless it has named one otherwise. It holds for this run alone: what a restart
 * policy boots next has its own.
 */
export function heedProcess(verdict: { exitCode?: number | undefined }): void {
  const code = Number(process.exitCode ?? 0)
  if (code === 0) return
  // Undefined would leave it as it is.
  process.exitCode = 0
  verdict.exitCode ||= code
}

/** A run that its plugin, or what its guest was to do, has made fail; undefined: neither has. Pure. */
export function failureOfVerdict(
  { reason, exitCode }: Verdict,
  { id, exit }: { id: string; exit: Exit },
): Failure | undefined {
  if (reason === undefined && !exitCode) return undefined
  const said = exitCode === exit.guestStatus ? `what the guest was to do ended with status ${exitCode}` : undefined
  const message = reason ?? said ?? `the plugin made it fail, with exit status ${exitCode}`
  const hint = `to see what its guest said last: banger logs ${id}`
  return new Failure("VM_FAILED", message, { hint, subject: id, exit: exitCode || undefined })
}
