import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, openBeneathMounts, statDescriptor, verified, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { targetOf } from "./holders.ts"
import type { Marks } from "./proof.ts"
import { type Candidate, inCgroup, listenerIn, namedIn, scanned } from "./witnesses.ts"

/** What is known of a VM whose VMM is looked for: its recorded identity, and where to look. */
export interface VmmQuery {
  /** Recorded when the VMM was started; null when banger was killed before that. */
  readonly identity: ProcessIdentity | null
  /** The boot and the PID namespace (`device:inode`) it was started in, where they are known. */
  readonly bootId?: string | undefined
  readonly pidNamespace?: string | undefined
  /** The file its standard output is. */
  readonly console: string
  /** The file that tells that its VMM was born with a lock on its console. */
  readonly consoleHeld?: string | undefined
  /** The path of its cgroup. */
  readonly cgroup?: string | undefined
  /** The path of its jail's root and the recorded `device:inode` of that; null when none was made. */
  readonly jail?: { readonly path: string; readonly root: string | null } | undefined
  /** Without a jail: the directory of its socket, and how its command line begins, behind the program's name. */
  readonly bare?: { readonly directory: string; readonly commandLines: readonly (readonly string[])[] } | undefined
  /** The name of the API socket, where the VMM makes that itself, and of the pidfile that its jailer writes. */
  readonly socket?: string | undefined
  readonly pidfile?: string | undefined
}

/** What named the process first. */
export type Witness = "journal" | "cgroup" | "socket" | "pidfile" | "scan"

/**
 * Opens (O_PATH) the directory of the VM's socket and pidfile; undefined when it is not there. Throws CHANGED when it is
 * not the recorded one, and UNTRUSTED when others can replace it. The caller closes it.
 */
export function openTraces({ jail, bare }: VmmQuery): number | undefined {
  if (jail === undefined) return bare && unlessAbsent(() => pinDirectory(bare.directory))
  const { path, root } = jail
  return root === null ? undefined : unlessAbsent(() => openJail(path, root))
}

/** The marks of this VM's VMM. A jail whose root is owned by uid 0 was not finished: no VMM is in it. */
export function marksOf({ jail, bare, console }: VmmQuery, dir: number | undefined): Marks {
  const owner = jail === undefined || dir === undefined ? undefined : statDescriptor(dir).uid
  const jailed = owner !== undefined && owner !== 0 && jail?.root != null
  return {
    jail: jailed ? { uid: owner, root: jail.root ?? "" } : undefined,
    console: targetOf(console),
    commandLines: bare?.commandLines ?? [],
  }
}

/** Something that names processes which may be the VMM. */
export interface CandidateSource {
  readonly by: Witness
  /** How messages call it. */
  readonly what: string
  /** Only root can write it: where it cannot be read, the answer is "unknown". */
  readonly trusted: boolean
  look(): readonly Candidate[]
}

/** All sources, in the order they are asked. */
export function candidateSources(sought: VmmQuery, dir: number | undefined, marks: Marks): readonly CandidateSource[] {
  const { cgroup, console, socket, pidfile, jail, bare } = sought
  const place = jail?.path ?? bare?.directory
  const sources: readonly (CandidateSource | undefined)[] = [
    cgroup === undefined ? undefined : { by: "cgroup", what: cgroup, trusted: true, look: () => inCgroup(cgroup) },
    dir === undefined || socket === undefined
      ? undefined
      : { by: "socket", what: `${place}/${socket}`, trusted: false, look: () => listenerIn(dir, socket) },
    dir === undefined || pidfile === undefined
      ? undefined
      : { by: "pidfile", what: `${place}/${pidfile}`, trusted: false, look: () => namedIn(dir, pidfile) },
    { by: "scan", what: "/proc", trusted: true, look: () => scanned(marks, console) },
  ]
  return sources.filter((source) => source !== undefined)
}

// --- internal ---

function openJail(path: string, root: string): number {
  const at = path.lastIndexOf("/")
  const dir = withDescriptor(pinDirectory(path.slice(0, at)), (above) =>
    openBeneathMounts(above, path.slice(at + 1), O.PATH | O_DIRECTORY | O_NOFOLLOW),
  )
  return verified(dir, () => {
    if (inodeOf(statDescriptor(dir)) !== root)
      throw new Failure("CHANGED", `${path} is another directory than the recorded root of the jail`, { subject: path })
  })
}
