import { Failure } from "../../base/terms/failure.ts"
import { ADMIN_PATH, findProgram } from "../../store/files/programs.ts"
import type { KeptThing } from "../../store/kept/thing.ts"
import { type Argv, howEnded, LOOK_MAX_MS, RELEASE_MAX_MS, runKept } from "./programs.ts"

/** A snapshot of LVM's, on a journal. */
export type KeptVolume = Extract<KeptThing, { kind: "lvm" }>

/** What such a snapshot is made of. */
export interface VolumeWish {
  /** `group/volume`, which it is a snapshot of. */
  readonly origin: string
  /** Its room for changes, in bytes; undefined of a thin volume's. */
  readonly sizeBytes: number | undefined
}

/** A snapshot that is still to be made, named as its tag, and what makes it. It has its tag from birth. Throws HOST_LACKS without LVM. */
export function planVolume(
  { origin, sizeBytes }: VolumeWish,
  tag: string,
): { thing: KeptVolume; make: () => KeptVolume } {
  const [group = ""] = origin.split("/")
  const thing = { kind: "lvm", group, volume: tag, tag } as const
  const lvcreate = lvmProgram("lvcreate")
  const size = sizeBytes === undefined ? [] : ["--size", `${sizeBytes}b`]
  const active = sizeBytes === undefined ? ["--setactivationskip", "n"] : []
  const argv: Argv = [
    lvcreate,
    "--yes",
    "--quiet",
    "--snapshot",
    "--addtag",
    tag,
    "--name",
    tag,
    ...size,
    ...active,
    origin,
  ]
  const make = () => {
    requireDone(argv)
    return thing
  }
  return { thing, make }
}

/** The volumes with the tag, each as `group/volume`. Throws where LVM does not tell. */
export function findVolumes({ tag }: KeptVolume): readonly string[] {
  const argv: Argv = [lvmProgram("lvs"), "--noheadings", "--options", "lv_full_name", `@${tag}`]
  const ran = runKept(argv, LOOK_MAX_MS)
  if (ran.exit !== 0) throw new Failure("NOT_RELEASED", howEnded(argv, ran, LOOK_MAX_MS), { subject: tag })
  return ran.output
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
}

/** Removes the snapshot, by its tag: a volume of its name that another has made is not touched. */
export function releaseVolume(thing: KeptVolume): void {
  if (findVolumes(thing).length > 0) requireDone([lvmProgram("lvremove"), "--yes", "--quiet", `@${thing.tag}`])
}

// --- internal ---

function lvmProgram(name: string): string {
  const { path, passedOver } = findProgram(name, ADMIN_PATH)
  if (path !== undefined) return path
  const hint = "install it (Debian and Ubuntu: apt-get install lvm2)"
  throw new Failure("HOST_LACKS", [`${name} is not in PATH`, ...passedOver].join("; "), { hint, subject: name })
}

function requireDone(argv: Argv): void {
  const ran = runKept(argv, RELEASE_MAX_MS)
  if (ran.exit !== 0) throw new Failure("HOST_LACKS", howEnded(argv, ran, RELEASE_MAX_MS), { subject: argv[0] })
}
