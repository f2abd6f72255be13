import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, openBeneathMounts, statDescriptor, verified, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { targetOf } from "./holders.ts"
import type { Marks } from "./proof.ts"
import { type Candidate, inCgroup, listenerIn, namedIn, scanned } from "./witnesses.ts"

/** A VM whose VMM is looked for: what was written down of it, and where its traces are. */
export interface VmmQuery {
  /** As it was written down when it was started; null when banger was killed before that. */
  readonly identity: ProcessIdentity | null
  /** The boot it was started in, and the PID namespace (`device:inode`), where they are known. */
  readonly bootId?: string | undefined
  readonly pidNamespace?: string | undefined
  /** The file its standard output is. */
  readonly console: string
  /** The path of its cgroup. */
  readonly cgroup?: string | undefined
  /** The path of its jail's root and the `device:inode` that was written down of it; null: none was made. */
  readonly jail?: { readonly path: string; readonly root: string | null } | undefined
  /** Without a jail: the directory its socket is in, and how its command line begins behind the program, one or another. */
  readonly bare?: { readonly directory: string; readonly commandLines: readonly (readonly string[])[] } | undefined
  /** The name of the API socket it listens on, where it makes that itself; and of the pidfile its jailer writes. */
  readonly socket?: string | undefined
  readonly pidfile?: string | undefined
}

/** Who first named the process. */
export type Witness = "journal" | "cgroup" | "socket" | "pidfile" | "scan"

/**
 * Opens (O_PATH) the directory that the VM's socket and pidfile are in; undefined when it is not there. Throws a failure
 * when it is another than was written down, or others can change what is above it. The caller closes it.
 */
export function openTraces({ jail, bare }: VmmQuery): number | undefined {
  if (jail === undefined) return bare && unlessAbsent(() => pinDirectory(bare.directory))
  const { path, root } = jail
  return root === null ? undefined : unlessAbsent(() => openJail(path, root))
}

/** What only this VM's process can have. Until a jail is in its place its root is ours, and no VMM is in it. */
export function marksOf({ jail, bare, console }: VmmQuery, dir: number | undefined): Marks {
  const owner = jail === undefined || dir === undefined ? undefined : statDescriptor(dir).uid
  const jailed = owner !== undefined && owner !== 0 && jail?.root != null
  return {
    jail: jailed ? { uid: owner, root: jail.root ?? "" } : undefined,
    console: targetOf(console),
    commandLines: bare?.commandLines ?? [],
  }
}

/** Somebody or something that names processes which may be the VMM. */
export interface CandidateSource {
  readonly by: Witness
  /** What names the process, for messages. */
  readonly what: string
  /** Whether nobody but root can write it: what it does not tell stays unknown. */
  readonly trusted: boolean
  look(): readonly Candidate[]
}

/** Who is asked, in this order. */
export function candidateSources(sought: VmmQuery, dir: number | undefined, marks: Marks): readonly CandidateSource[] {
  const { cgroup, console, socket, pidfile, jail, bare } = sought
  const place = jail?.path ?? bare?.directory
  const scan: CandidateSource = { by: "scan", what: "/proc", trusted: true, look: () => scanned(marks, console) }
  return [
    ...(cgroup === undefined ? [] : [told("cgroup", cgroup, () => inCgroup(cgroup), true)]),
    ...(dir === undefined || socket === undefined
      ? []
      : [told("socket", `${place}/${socket}`, () => listenerIn(dir, socket))]),
    ...(dir === undefined || pidfile === undefined
      ? []
      : [told("pidfile", `${place}/${pidfile}`, () => namedIn(dir, pidfile))]),
    scan,
  ]
}

// --- internal ---

function openJail(path: string, root: string): number {
  const at = path.lastIndexOf("/")
  const dir = withDescriptor(pinDirectory(path.slice(0, at)), (above) =>
    openBeneathMounts(above, path.slice(at + 1), O.PATH | O_DIRECTORY | O_NOFOLLOW),
  )
  return verified(dir, () => {
    if (inodeOf(statDescriptor(dir)) !== root)
      throw new Failure("FAILED", `${path} is another directory than the jail's root that was written down`)
  })
}

function told(by: Witness, what: string, look: () => readonly Candidate[], trusted = false): CandidateSource {
  return { by, what, trusted, look }
}
