import { fileAgeMs } from "../../base/linux/clock.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { statAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import type { Verdict } from "./leftover.ts"

/** The verdict on what was made or changed less than `grace` milliseconds ago; undefined when it is older. */
export function tooYoung(stat: Pick<Stat, "ctimeMs" | "btimeMs">, grace: number): Verdict | undefined {
  const age = fileAgeMs(stat)
  if (age >= grace) return undefined
  return { is: "kept", why: `it was made or changed ${Math.floor(age / 1000)} s ago` }
}

/** The file of this path, symlinks not followed; undefined when there is none. */
export function statOf(path: string): Stat | undefined {
  return unlessAbsent(() => statAt(AT_FDCWD, path))
}
