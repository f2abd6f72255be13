import * as v from "valibot"
import { errorSchema } from "../src/base/terms/failureSchema.ts"
import {
  diskFileSchema,
  doneSchema,
  forgottenVmSchema,
  imageListSchema,
  imageSchema,
  installedSchema,
  logLineSchema,
  messageSchema,
  savedSchema,
  setResultSchema,
  textSchema,
  updateCheckSchema,
  updateSchema,
  versionSchema,
  writtenSchema,
} from "../src/cli/show/documents.ts"
import { stepSchema } from "../src/host/network/check.ts"
import { detachedVmSchema } from "../src/operations/detach.ts"
import { diskListSchema } from "../src/operations/diskList.ts"
import { eventLineSchema } from "../src/operations/events.ts"
import { inspectedSchema } from "../src/operations/inspect.ts"
import { hostNamesSchema } from "../src/operations/networkHosts.ts"
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
  "banger net hosts --json": hostNamesSchema,
  "banger net rm --json": v.array(leftoverSchema),
  "banger net check --json": v.array(stepSchema),
  "banger disk ls --json": diskListSchema,
  "banger disk --json": diskFileSchema,
  "banger get ls --json": imageListSchema,
  "banger get --json": imageSchema,
  "banger update --check --json": updateCheckSchema,
  "banger update --json": updateSchema,
  "banger stop --json": doneSchema,
  "banger forget --json": forgottenVmSchema,
  "banger snapshot --json": savedSchema,
  "banger set --json": setResultSchema,
  "banger logs --json": logLineSchema,
  "banger init --json": writtenSchema,
  "banger system install --json": installedSchema,
  "banger version --json": versionSchema,
  "banger help --json": textSchema,
} satisfies Readonly<Record<string, v.GenericSchema>>

export type DocumentName = keyof typeof DOCUMENTS

/** Of these documents each line is one. */
const LINES: readonly DocumentName[] = [
  "banger events",
  "banger logs --events",
  "banger logs --json",
  "banger stop --json",
]

/** Commands that print the document of another. */
const LIKE: Readonly<Record<string, DocumentName>> = {
  supervise: "banger run --json",
  kill: "banger stop --json",
  rm: "banger stop --json",
  system: "banger help --json",
  complete: "banger help --json",
}

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
  if (!has("--json") || has("--watch", "-w")) return undefined
  if (has("--help", "-h")) return "banger help --json"
  if (command === "run" && has("--plan")) return "banger run --plan --json"
  const alone = words.indexOf("--supervise")
  const unsupervised = has("--supervise=none") || (alone !== -1 && words[alone + 1] === "none")
  const background = command === "run" || command === "supervise" ? unsupervised || has("--detach", "-d") : false
  if (command === "restart" || background) return "banger run --detach --json"
  if (command === "system" && action === "install") return "banger system install --json"
  if (command === "system" && action === "shutdown") return "banger stop --json"
  if (command !== undefined && LIKE[command] !== undefined) return LIKE[command]
  const below = command === "net" || ((command === "get" || command === "disk") && action === "ls")
  const name = `banger ${below ? `${command} ${action}` : command} --json`
  if (name === "banger update --json" && has("--check")) return "banger update --check --json"
  return Object.keys(DOCUMENTS).find((each): each is DocumentName => each === name)
}

/**
 * Throws unless what a command printed is its document. One that printed nothing has failed before it could, and one that
 * a signal ended may have been cut short. With --json, every line of standard error is a message or, the last, a failure.
 */
export function checkDocuments(
  args: readonly string[],
  { stdout, stderr, exit }: { readonly stdout: string; readonly stderr: string; readonly exit: number | null },
): void {
  const name = documentOf(args)
  if (exit === null || exit > 128) return
  if (name !== undefined && stdout.trim() !== "") parseDocument(name, stdout)
  const end = args.indexOf("--")
  if (!(end === -1 ? args : args.slice(0, end)).includes("--json")) return
  const said = stderr.split("\n").filter((line) => line !== "")
  const isFailure = (line: string) => line.startsWith('{"error"')
  for (const line of said) v.parse(isFailure(line) ? errorSchema : messageSchema, JSON.parse(line))
  if (exit !== 0 && !isFailure(said.at(-1) ?? "")) throw new Error(`no failure ends ${JSON.stringify(stderr)}`)
}
