import { blankLiterals, splitAt } from "./blankLiterals.ts"

/** A module's source as it runs: JavaScript. */
export type ModuleText = string

/**
 * Whether it is certain that a module keeps nothing from one call of its functions to the next, so that it makes no
 * difference when it is loaded anew between two hooks. Sees only what is plainly so: functions, constants that cannot change,
 * imports, and a plugin written out in `definePlugin({ … })`. Of anything else it says no. `text` is what Bun's transpiler
 * writes. Pure.
 */
export function keepsNothing(text: ModuleText): boolean {
  const code = blankLiterals(text)
  if (code === undefined || SHARED.test(code.replaceAll(UNPACKED, "$1 _ ="))) return false
  const statements = splitAt(code, /[;\n]/).filter((statement) => statement !== "")
  const functions = statements.flatMap((statement) => FUNCTION.exec(statement)?.[1] ?? [])
  if (functions.some((name) => new RegExp(`(?<![.\\w$])${name.replaceAll("$", "\\$")}\\s*[.[]`).test(code)))
    return false
  return statements.every(
    (statement) =>
      IMPORT.test(statement) || FUNCTION.test(statement) || CONSTANT.test(statement) || isPlainPlugin(statement),
  )
}

// --- internal ---

/** New names for the parts of a value: no part of anything is written to. */
const UNPACKED = /\b(const|let|var) (?:\[[^;=()]*(?:= [^;=()]*)*\]|\{[^;=()]*(?:= [^;=()]*)*\}) =/g

/** By which code reaches what outlives a call, whatever its own module holds. */
const SHARED = new RegExp(
  [
    String.raw`\b(?:this|globalThis|global|self|window|eval|Function|require|arguments|prototype|delete|super)\b`,
    String.raw`\bimport\s*\(`,
    String.raw`\bprocess(?!\.(?:env\.\w|pid\b|platform\b|arch\b|getuid\b|geteuid\b|cwd\b))`,
    String.raw`\bBun(?!\.\w)|\bBun\.(?:env|plugin)\b`,
    String.raw`\.unref\b`,
    String.raw`\b(?:Object|Reflect)\.(?:assign|define|set)`,
    // A property that is written to could be of anything.
    String.raw`(?:\.[\w$]+|\])\s*(?:[-+*%&|^?<>]{0,3}=(?![=>])|\+\+|--)`,
    String.raw`(?:\+\+|--)\s*[\w$]+\s*[.[]`,
  ].join("|"),
)

const IMPORT = /^import [^()]*$/
const FUNCTION = /^(?:export (?:default )?)?(?:async )?function ([\w$]+)\s*\(/
const VALUE = String.raw`(?:""|-?[\d_.]+n?|0x[\da-f]+|!0|!1|true|false|null|import\.meta\.(?:dir|dirname|path|file|filename|url))`
const CONSTANT = new RegExp(String.raw`^(?:export )?const [\w$]+ = ${VALUE}(?:,\s*[\w$]+ = ${VALUE})*$`)

const METHOD = /^(?:async )?[\w$]+\s*\([^()]*\)\s*\{[\s\S]*\}$/
const ARROW = /^[\w$]+: (?:async )?(?:\([^()]*\)|[\w$]+) =>/
const DATA = /^[\w$]+(?:: [^()]*)?$/

/** `export default definePlugin({ … })`, or the object alone, whose fields are data and functions, none of them made by a call. */
function isPlainPlugin(statement: string): boolean {
  const fields = /^export default (?:definePlugin\(\{([\s\S]*)\}\)|\{([\s\S]*)\})$/
    .exec(statement)
    ?.slice(1)
    .find((body) => body !== undefined)
  if (fields === undefined) return /^export (?:default [\w$]+|\{[^}]*\})$/.test(statement)
  return splitAt(fields, /,/)
    .filter((field) => field !== "")
    .every(
      (field) => METHOD.test(field) || ARROW.test(field) || (DATA.test(field) && !/=>|\bnew\b|\bget\b/.test(field)),
    )
}
