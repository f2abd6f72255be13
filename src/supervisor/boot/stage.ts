import { mkdirSync } from "node:fs"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import {
  isType,
  openAt,
  openBeneath,
  openNamed,
  statDescriptor,
  symlinkAt,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { usageError } from "../../base/terms/failure.ts"
import { type Jail, makeJail } from "../../host/jail/makeJail.ts"
import { blockDevice, makeNode } from "../../host/jail/nodes.ts"
import { closeStage, makeStage, type StageRoot, stageCopy } from "../../host/jail/stage.ts"
import { stageFile } from "../../host/jail/stageFile.ts"
import type { Boot, Program, Vmm } from "../../host/vmm/vmm.ts"
import { elfKernel } from "../../inputs/kernel/elfKernel.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { markOf, RUNTIME_MARK } from "../../store/state/mark.ts"
import { takeUid } from "../../store/state/uids.ts"
import type { Session } from "../../vm/session.ts"
import { savedDisks, snapshotFiles } from "../snapshot/manifest.ts"
import { type ConfinementPlan, ownerOf } from "./confinement.ts"
import { type FoundDrive, inJail, planBoot } from "./plan.ts"
import { makeOwnFile, ownFiles, stageForFirecracker } from "./stageFirecracker.ts"

type Drive = Spec["drives"][number]

/** Everything a VM's files are staged with. */
export interface VmStage {
  readonly root: StageRoot
  /** Adds a disk, of the host or staged already. */
  add(drive: Drive): Promise<void>
  /** Puts it in place, complete: what to boot, and what the VMM will lock itself into. */
  finish(): Staged
  /** Lets go of the stage; what is in it stays. */
  close(): void
}

/** A VM whose files are in place. */
export interface Staged {
  readonly boot: Boot
  /** The uid and the root directory that the VMM goes over to. */
  readonly runsAs: { readonly uid: number; readonly root: string } | undefined
}

/** What a VM is staged from. */
export interface Staging {
  readonly session: Session
  readonly spec: Spec
  readonly vmm: Vmm
  readonly program: Program
  readonly confining: ConfinementPlan
  readonly signal: AbortSignal
  /** The directory of a snapshot to go on from. */
  readonly restore: string | undefined
}

/** Makes a VM's runtime directory and its jail, or its plain stage, with all that its spec names in it. */
export async function stageVm(staging: Staging): Promise<VmStage> {
  const { session, confining } = staging
  const { layout, journal } = session
  journal.acquire({ kind: "runtime", path: layout.runtime })
  // Sticky, so that a sweep can remove exactly the socket that it found dead.
  mkdirSync(layout.runtime, { mode: 0o1700 })
  withDescriptor(openAt(AT_FDCWD, layout.runtime, O.PATH | O_NOFOLLOW), (dir) =>
    symlinkAt(markOf(layout), dir, RUNTIME_MARK),
  )
  const { spec, vmm } = staging
  const unpacks = vmm.name === "firecracker" && process.arch === "x64"
  const kernel = unpacks ? elfKernel(spec.kernel, layout.kernels) : spec.kernel
  const drives = staging.restore === undefined ? spec.drives : savedDisks(spec.drives, staging.restore)
  const ready = { ...staging, spec: { ...spec, kernel, drives } }
  return confining.jail === undefined ? stagePlain(ready) : stageJail(ready, confining.jail)
}

/** Looks up whether a drive of the host is a block device. */
export function findDrive(drive: Drive): FoundDrive {
  const device = withDescriptor(openNamed(drive.path, O.PATH), (fd) => isType(statDescriptor(fd), S.IFBLK))
  return { ...drive, device }
}

// --- internal ---

/** Without a jail the VMM uses the files where they are. */
function stagePlain({ session, spec, vmm, restore }: Staging): VmStage {
  session.journal.acquire({ kind: "stage", path: session.layout.stage })
  const root = makeStage(session.layout.stage)
  if (vmm.name === "firecracker") {
    for (const path of Object.values(ownFiles(session.layout, spec.firecracker))) makeOwnFile(path)
  }
  const drives = spec.drives.map(findDrive)
  return {
    root,
    add: async (drive) => void drives.push(findDrive(drive)),
    finish: () => ({
      boot: planBoot(
        spec,
        session.id,
        drives,
        vmm,
        undefined,
        restore === undefined ? undefined : snapshotFiles(restore),
      ),
      runsAs: undefined,
    }),
    close: () => closeStage(root),
  }
}

async function stageJail(staging: Staging, wanted: NonNullable<ConfinementPlan["jail"]>): Promise<VmStage> {
  const { session, spec, vmm, program, signal, restore } = staging
  const { id, layout, journal, db } = session
  const name = vmm.jailName(program)
  journal.acquire({ kind: "jail", vmm: name, root: null })
  const owner = ownerOf(takeUid(db, id, { wanted: wanted.uid }), wanted.gid)
  const site = { base: layout.jails, vmm: name, id }
  let inode = ""
  const jail = makeJail(site, owner, (root) => {
    inode = root
    journal.refine({ kind: "jail", vmm: name, root })
  })
  const drives: FoundDrive[] = []
  const add = async (drive: Drive) => {
    const index = drives.push({ ...drive, device: false }) - 1
    drives[index] = { ...drive, ...(await stageDrive(jail, drive, `disk${index}`, signal)) }
  }
  try {
    await stageFile(jail, "kernel", spec.kernel, READONLY, signal)
    if (spec.initrd !== undefined) await stageFile(jail, "initrd", spec.initrd, READONLY, signal)
    for (const drive of spec.drives) await add(drive)
    if (restore !== undefined) {
      const files = snapshotFiles(restore)
      for (const [name, path] of Object.entries(files)) await stageFile(jail, `restore/${name}`, path, READONLY, signal)
    }
    if (vmm.name === "firecracker") {
      await stageForFirecracker(jail, ownFiles(layout, spec.firecracker), program, signal)
    }
    // The user-mode network asks the host's name servers, and looks them up when the guest asks it.
    if (spec.network && spec.network.mode === "user")
      await stageCopy(jail, "etc/resolv.conf", "/etc/resolv.conf", signal)
  } catch (error) {
    jail.close()
    throw error
  }
  const finish = () => {
    jail.place()
    const boot = planBoot(
      inJail(spec, jail.path),
      id,
      drives,
      vmm,
      { root: jail.path, ...owner },
      restore === undefined ? undefined : snapshotFiles(`${jail.path}/restore`),
    )
    return { boot, runsAs: { uid: owner.uid, root: inode } }
  }
  return { root: jail, add, finish, close: jail.close }
}

const READONLY = { readonly: true, way: undefined }

/** Stages a disk and returns where it is; one that a hook has staged is there already. */
async function stageDrive(
  jail: Jail,
  drive: Drive,
  name: string,
  signal: AbortSignal,
): Promise<Pick<FoundDrive, "path" | "device">> {
  const { path, readonly, stage: way } = drive
  const staged = `${jail.path}/`
  if (path.startsWith(staged)) return { path: requireStaged(jail, path, path.slice(staged.length)), device: false }
  const { device } = findDrive(drive)
  if (device) {
    if (way !== undefined)
      throw usageError(`drives: ${path} is a block device, which is not staged as a file`, "leave `stage` out")
    makeNode(jail, name, blockDevice(path))
  } else await stageFile(jail, name, path, { readonly, way }, signal)
  return { path: `${jail.path}/${name}`, device }
}

function requireStaged(jail: Jail, path: string, name: string): string {
  withDescriptor(openBeneath(jail.fd, name, O.RDONLY | O.NONBLOCK), (fd) => {
    if (!isType(statDescriptor(fd), S.IFREG)) throw usageError(`drives: ${path} is not a regular file`)
  })
  return path
}
