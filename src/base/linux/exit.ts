import { libc } from "./libc.ts"

/** Ends the whole process at once from any of its threads (_exit(2)): no handler and no `finally` runs. */
export function exitNow(code: number): void {
  libc._exit(code)
}
