import { join } from "node:path"

const built = process.env.BANGER_TEST_PROGRAM

/**
 * The banger that tests run as a program: the source, or the binary that scripts/test has just built and names, which
 * starts three times as fast.
 */
export const PROGRAM: readonly string[] =
  built === undefined ? [process.execPath, join(import.meta.dir, "../cli.ts")] : [built]

/** What its version says of where it comes from. */
export const ORIGIN = built === undefined ? /\(from source\)/ : /\((?:[0-9a-f]{12}(?:-dirty)?|unknown)\)/
