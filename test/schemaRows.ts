import type * as v from "valibot"
import { failureSchema } from "../src/base/terms/failureSchema.ts"
import { exitSchema } from "../src/store/state/vmState.ts"

/** One key of a document, as docs/json.md has it in a row: `sockets[].ageSeconds?`, `number`. */
export interface Row {
  readonly path: string
  readonly key: string
  readonly type: string
}

/** Documents of more than one place are described once, and linked to. */
const SHARED = new Map<unknown, string>([
  [failureSchema, "[failure](#a-failure)"],
  [exitSchema, "[exit](#how-a-vm-ended)"],
])

/** Names that older bangers wrote into their files: read, never printed. */
const READ_ONLY = ["becomes"]

interface Node {
  readonly type: string
  readonly entries?: Readonly<Record<string, Node>>
  readonly item?: Node
  readonly wrapped?: Node
  readonly options?: readonly unknown[]
  readonly literal?: unknown
}

/**
 * Every key of a schema, nested ones under the path to them. Throws at what no document may have: objects that take other
 * keys too, and types of valibot that no document had so far.
 */
export function rowsOf(schema: v.GenericSchema): readonly Row[] {
  return distinct(rowsIn(schema as unknown as Node, ""))
}

// --- internal ---

function rowsIn(node: Node, path: string): readonly Row[] {
  if (node.type === "strict_object" || node.type === "object") {
    return Object.entries(node.entries ?? {}).flatMap(([key, value]) => {
      if (READ_ONLY.includes(key)) return []
      const optional = value.type === "optional"
      const inner = optional ? (value.wrapped as Node) : value
      const at = `${path}${key}`
      const below = SHARED.has(inner) ? [] : rowsIn(inner, `${at}.`)
      return [{ path: `${at}${optional ? "?" : ""}`, key, type: typeOf(inner) }, ...below]
    })
  }
  if (node.type === "array") return rowsIn(node.item as Node, path === "" ? "[]." : `${path.slice(0, -1)}[].`)
  if (node.type === "nullable" || node.type === "optional") {
    return SHARED.has(node.wrapped) ? [] : rowsIn(node.wrapped as Node, path)
  }
  if (node.type === "union" || node.type === "variant") {
    return (node.options as readonly Node[]).flatMap((option) => rowsIn(option, path))
  }
  if (node.type === "object" || node.type === "loose_object" || node.type === "record")
    throw new Error(`${path}: a document has strict objects only`)
  return []
}

function typeOf(node: Node): string {
  const shared = SHARED.get(node)
  if (shared !== undefined) return shared
  if (node.type === "nullable") return `${typeOf(node.wrapped as Node)} or null`
  if (node.type === "picklist") return (node.options ?? []).map((option) => `\`${option}\``).join(", ")
  if (node.type === "literal") return `\`${node.literal}\``
  if (node.type === "array") return `array of ${typeOf(node.item as Node)}`
  if (node.type === "strict_object" || node.type === "object" || node.type === "variant") return "object"
  if (node.type === "union")
    return [...new Set((node.options as readonly Node[]).map((option) => typeOf(option)))].join(" or ")
  if (node.type === "unknown") return "anything"
  if (["string", "number", "boolean"].includes(node.type)) return node.type
  throw new Error(`no word for ${node.type}`)
}

/** Keys that several options of a union have, once. */
function distinct(rows: readonly Row[]): readonly Row[] {
  const seen = new Map<string, Row>()
  for (const row of rows) {
    const before = seen.get(row.path)
    const both = before === undefined || before.type === row.type ? row.type : `${before.type}, ${row.type}`
    seen.set(row.path, { ...row, type: both })
  }
  return [...seen.values()]
}
