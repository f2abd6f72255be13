import { entryUrl, IS_COMPILED } from "../../base/terms/compiled.ts"

/** The command that runs this very program: the binary itself, or Bun with cli.ts. */
export function selfArgv(): readonly string[] {
  return IS_COMPILED ? ["/proc/self/exe"] : [process.execPath, Bun.fileURLToPath(entryUrl("cli.ts"))]
}
