import type { ArgsDef } from "citty"

/** Options that every command takes. */
export const globalArgs = {
  json: { type: "boolean", description: "Print JSON, and every message and error as a line of JSON" },
  verbose: { type: "boolean", description: "Tell more, and show the stack of an error" },
  quiet: { type: "boolean", description: "Print only warnings and errors" },
  help: { type: "boolean", alias: "h", description: "Show this help" },
} as const satisfies ArgsDef
