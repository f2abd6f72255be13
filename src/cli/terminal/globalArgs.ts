import type { ArgsDef } from "citty"

/** Flags that every command takes. */
export const globalArgs = {
  verbose: { type: "boolean", description: "Tell more, and show the stack of an error" },
  quiet: { type: "boolean", description: "Print only warnings and errors" },
  help: { type: "boolean", alias: "h", description: "Show this help" },
} as const satisfies ArgsDef
