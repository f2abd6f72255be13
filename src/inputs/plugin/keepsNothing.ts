import { blankLiterals, splitAt } from "./blankLiterals.ts"

/**
 * Whether it is certain that a module keeps nothing from one call of its functions to the next, so that it makes no
 * difference when it is loaded anew between two hooks, and that none of its own code runs while it is loaded. Sees only what is
 * plainly so: functions, constants that cannot change, imports, and a plugin written out in banger's `definePlugin({ … })`. Of
 * anything else it says no. `text` is what Bun's transpiler writes. Pure.
 */
export function keepsNothing(text: string): boolean {
  const code = blankLiterals(text)
  if (code === undefined || SHARED.test(code.replaceAll(UNPACKED, "$1 _ ="))) return false
  const statements = splitAt(code, /[;\n]/).filter((statement) => statement !== "")
  const functions = statements.flatMap((statement) => FUNCTION.exec(statement)?.[1] ?? [])
  if (functions.some((name) => new RegExp(`(?<![.\\w$])${name.replaceAll("$", "\\$")}\\s*[.[]`).test(code)))
    return false
  const form = statements.some((statement) => DEFINE_PLUGIN.test(statement)) ? MADE : WRITTEN
  return statements.every(
    (statement) =>
      IMPORT.test(statement) || FUNCTION.test(statement) || CONSTANT.test(statement) || isPlainPlugin(statement, form),
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
    String.raw`\.unref\b|\bdlopen\b`,
    // What JavaScript calls by itself: where an operator takes an object, where it is unpacked or waited for.
    String.raw`\bSymbol\b|(?<![.\w$])(?:valueOf|toString|toJSON|then)\b`,
    String.raw`\bconsole\.(?:time|count|group)|\bperformance\.(?:mark|measure)`,
    // Settings of modules that everybody shares (dns.setServers).
    String.raw`\.set[A-Z]`,
    String.raw`\b(?:Object|Reflect)\.(?:assign|define|set)`,
    // A property that is written to could be of anything.
    String.raw`(?:\.[\w$]+|\])\s*(?:[-+*%&|^?<>]{0,3}=(?![=>])|\+\+|--)`,
    String.raw`(?:\+\+|--)\s*[\w$]+\s*[.[]`,
  ].join("|"),
)

const IMPORT = /^import [^()]*$/
const FUNCTION = /^(?:export (?:default )?)?(?:async )?function ([\w$]+)\s*\(/
const DEFINE_PLUGIN = /^import \{(?:[^}]*,)? definePlugin(?:,[^}]*)? \} from "banger"$/
const VALUE = String.raw`(?:"(?:banger)?"|-?[\d_.]+n?|0x[\da-f]+|!0|!1|true|false|null|import\.meta\.(?:dir|dirname|path|file|filename|url))`
const CONSTANT = new RegExp(String.raw`^(?:export )?const [\w$]+ = ${VALUE}(?:,\s*[\w$]+ = ${VALUE})*$`)

const METHOD = /^(?:async )?[\w$]+\s*\([^()]*\)\s*\{[\s\S]*\}$/
const ARROW = /^[\w$]+: (?:async )?(?:\([^()]*\)|[\w$]+) =>/
const DATA = /^[\w$]+(?:: [^()]*)?$/
/** `]:` ends the name of a property that is worked out. */
const CODE = /=>|\b(?:new|get|await)\b|\]\s*:/

const WRITTEN = /^export default \{([\s\S]*)\}$/
const MADE = /^export default (?:definePlugin\(\{([\s\S]*)\}\)|\{([\s\S]*)\})$/

/** A plugin of this form, whose fields are data and functions, none of them made by a call. */
function isPlainPlugin(statement: string, form: RegExp): boolean {
  const fields = form
    .exec(statement)
    ?.slice(1)
    .find((body) => body !== undefined)
  if (fields === undefined) return /^export (?:default [\w$]+|\{[^}]*\})$/.test(statement)
  return splitAt(fields, /,/)
    .filter((field) => field !== "")
    .every((field) => METHOD.test(field) || ARROW.test(field) || (DATA.test(field) && !CODE.test(field)))
}
