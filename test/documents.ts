import * as v from "valibot"
import { errorSchema } from "../src/base/terms/failureSchema.ts"
import { imageListSchema } from "../src/cli/show/images.ts"
import { updateCheckSchema } from "../src/cli/show/updateCheck.ts"
import { stepSchema } from "../src/host/network/check.ts"
import { detachedVmSchema } from "../src/operations/detach.ts"
import { eventLineSchema } from "../src/operations/events.ts"
import { inspectedSchema } from "../src/operations/inspect.ts"
import { networkListSchema } from "../src/operations/networkList.ts"
import { waitResultSchema } from "../src/operations/wait.ts"
import { hookEventSchema, stateEventSchema } from "../src/store/state/events.ts"
import { planSchema } from "../src/supervisor/boot/planRun.ts"
import { examinationSchema } from "../src/upkeep/doctor/finding.ts"
import { leftoverSchema } from "../src/upkeep/leftovers/leftover.ts"
import { sweepReportSchema } from "../src/upkeep/sweep/sweep.ts"
import { runResultSchema } from "../src/vm/exit.ts"
import { vmStatusSchema } from "../src/vm/status.ts"

/** Every JSON document that a command prints for its user, by its heading in docs/json.md. */
export const DOCUMENTS = {
  "banger ps --json": v.array(vmStatusSchema),
  "banger inspect": inspectedSchema,
  "banger run --json": runResultSchema,
  "banger run --detach --json": detachedVmSchema,
  "banger run --plan --json": planSchema,
  "banger wait --json": waitResultSchema,
  "banger events": eventLineSchema,
  "banger logs --events": v.variant("event", [stateEventSchema, hookEventSchema]),
  "banger sweep --json": sweepReportSchema,
  "banger doctor --json": examinationSchema,
  "banger net ls --json": networkListSchema,
  "banger net rm --json": v.array(leftoverSchema),
  "banger net check --json": v.array(stepSchema),
  "banger get ls --json": imageListSchema,
  "banger update --check --json": updateCheckSchema,
} satisfies Readonly<Record<string, v.GenericSchema>>

export type DocumentName = keyof typeof DOCUMENTS

/** Of these documents each line is one. */
const LINES: readonly DocumentName[] = ["banger events", "banger logs --events"]

/** The documents in what a command printed: one, or one a line. */
export function parseDocument(name: DocumentName, text: string): readonly unknown[] {
  const texts = LINES.includes(name) ? text.trim().split("\n") : [text]
  return texts.map((each) => {
    const parsed = v.safeParse(DOCUMENTS[name], JSON.parse(each))
    if (parsed.success) return parsed.output
    throw new Error(`${name}: ${JSON.stringify(v.flatten(parsed.issues))} in ${each}`)
  })
}

/** Which document a command with these words prints; undefined: none. */
export function documentOf(args: readonly string[]): DocumentName | undefined {
  const end = args.indexOf("--")
  const words = end === -1 ? args : args.slice(0, end)
  const has = (...flags: readonly string[]) => words.some((word) => flags.includes(word))
  const [command, action] = words.filter((word) => !word.startsWith("-"))
  if (command === "inspect") return "banger inspect"
  if (command === "events") return "banger events"
  if (command === "logs" && has("--events")) return "banger logs --events"
  if (!has("--json") || has("--watch", "-w", "--help", "-h")) return undefined
  if (command === "run" && has("--plan")) return "banger run --plan --json"
  const alone = words.indexOf("--supervise")
  const unsupervised = has("--supervise=none") || (alone !== -1 && words[alone + 1] === "none")
  if (command === "restart" || (command === "run" && (unsupervised || has("--detach", "-d"))))
    return "banger run --detach --json"
  const name = `banger ${command === "net" || command === "get" ? `${command} ${action}` : command} --json`
  if (name === "banger update --json") return has("--check") ? "banger update --check --json" : undefined
  return Object.keys(DOCUMENTS).find((each): each is DocumentName => each === name)
}

/**
 * Throws unless what a command printed is its document. One that printed nothing has failed before it could, and one that
 * a signal ended may have been cut short. A failure on standard error is a document too.
 */
export function checkDocuments(
  args: readonly string[],
  { stdout, stderr, exit }: { readonly stdout: string; readonly stderr: string; readonly exit: number | null },
): void {
  const name = documentOf(args)
  if (name === undefined || exit === null || exit > 128) return
  if (stdout.trim() !== "") parseDocument(name, stdout)
  const last = stderr.trimEnd().split("\n").at(-1) ?? ""
  if (last.startsWith('{"error"')) v.parse(errorSchema, JSON.parse(last))
}
