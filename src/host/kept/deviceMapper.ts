import { existsSync, readdirSync, readFileSync } from "node:fs"
import {
  createMapped,
  type MappedDevice,
  mappedStatus,
  removeMapped,
  startMapped,
  type Target,
} from "../../base/linux/deviceMapper.ts"
import { errorCode, ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { KeptThing } from "../../store/kept/thing.ts"

/** A device of the device mapper, on a journal. */
export type KeptMapped = Extract<KeptThing, { kind: "dm" }>

/** What such a device is made of. */
export interface MappedWish {
  readonly name: string
  /** Lines as dmsetup(8) takes them. */
  readonly table: readonly string[]
  readonly readonly: boolean
}

/** A device that is still to be made, and what makes it. Throws BAD_PLUGIN for a table that is none. */
export function planMapped(
  { name, table, readonly }: MappedWish,
  uuid: string,
): { thing: KeptMapped; make: () => KeptMapped } {
  const targets = table.map(parseTarget)
  const thing = { kind: "dm", name, uuid, device: null } as const
  const make = () => {
    let made: MappedDevice
    try {
      made = createMapped(name, uuid)
    } catch (error) {
      if (errorCode(error) === "EBUSY")
        throw new Failure("IN_USE", `there is a device ${name} already`, { subject: name })
      if (errorCode(error) !== "ENOENT" && errorCode(error) !== "ENXIO" && errorCode(error) !== "ENODEV") throw error
      const hint = "load its module: modprobe dm_mod"
      throw new Failure("HOST_LACKS", "the kernel has no device mapper", { hint, subject: name, cause: error })
    }
    startMapped(uuid, targets, readonly)
    return { ...thing, device: `/dev/dm-${made.rdev.split(":")[1]}` }
  }
  return { thing, make }
}

/**
 * Whether the device is there. Its uuid is its own: the kernel gives none to two. Throws LIVENESS_UNKNOWN for one that is there, and
 * cannot be got at from here.
 */
export function hasMapped({ uuid, name }: KeptMapped): boolean {
  if (existsSync(CONTROL)) return unlessAbsent(() => mappedStatus({ uuid }), GONE) !== undefined
  const shown = readdirSync("/sys/block").filter((block) => block.startsWith("dm-"))
  if (!shown.some((block) => uuidOf(block) === uuid)) return false
  throw new Failure("LIVENESS_UNKNOWN", `there is no ${CONTROL} to ask`, { subject: name })
}

/** Removes the device; one of its name and another uuid is not touched. Throws EBUSY while it is in use. */
export function releaseMapped({ uuid }: KeptMapped): void {
  ignoring(GONE, () => removeMapped(uuid))
}

/** A line of a table: `0 2048 linear /dev/sda 0`. Throws BAD_PLUGIN for any other. Pure. */
export function parseTarget(line: string): Target {
  const [, start, length, type, parameters = ""] =
    /^ *(\d{1,15}) +(\d{1,15}) +([\w-]{1,15})(?: +(\S.*?))? *$/.exec(line) ?? []
  if (start !== undefined && length !== undefined && type !== undefined)
    return { start: Number(start), length: Number(length), type, parameters }
  const hint = 'as dmsetup(8) takes it: "0 2048 linear /dev/sda 0"'
  throw new Failure("BAD_PLUGIN", `${JSON.stringify(line)} is no line of a device mapper's table`, {
    hint,
    subject: "table",
  })
}

// --- internal ---

const CONTROL = "/dev/mapper/control"

function uuidOf(block: string): string | undefined {
  return unlessAbsent(() => readFileSync(`/sys/block/${block}/dm/uuid`, "utf8").trim())
}

/** No such device; no device mapper at all. */
const GONE = ["ENXIO", "ENOENT", "ENODEV"]
