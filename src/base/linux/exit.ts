import { libc } from "./libc.ts"

/** Ends the whole process at once from any of its threads (_exit(2)): no handler and no `finally` runs. */
export function exitNow(code: number): never {
  libc._exit(code)
  throw new Error("_exit(2) returned")
}
