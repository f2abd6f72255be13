import { mkdirSync } from "node:fs"
import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { openAt, symlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Log } from "../../base/terms/log.ts"
import { hostPath, withoutJail } from "../../base/terms/path.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { makeJail } from "../../host/jail/makeJail.ts"
import { closeStage, makeStage, type StageRoot, stageCopy } from "../../host/jail/stage.ts"
import { stageFile } from "../../host/jail/stageFile.ts"
import { bindSocket } from "../../host/jail/userSockets.ts"
import type { Boot, Program, SnapshotFiles, Vmm } from "../../host/vmm/vmm.ts"
import { elfKernel } from "../../inputs/kernel/elfKernel.ts"
import { type Drive, isDisk, type Spec } from "../../inputs/schema/vm.ts"
import type { OnProgress } from "../../store/disks/convert.ts"
import type { Resource } from "../../store/state/handles.ts"
import { markOf, RUNTIME_MARK } from "../../store/state/mark.ts"
import { ownUidRange, takeUid } from "../../store/state/uids.ts"
import type { Session } from "../../vm/session.ts"
import { savedDisk, savedDisks, snapshotFiles } from "../snapshot/manifest.ts"
import { type ConfinementPlan, ownerOf } from "./confinement.ts"
import { disksOf, lostWrites, stageDisk, stageDrive, useDisk, useDrive } from "./drives.ts"
import { HANDLER_SETTING } from "./handler.ts"
import { IN_JAIL, planBoot, plannedFiles, type StagedDrive, type StagedFiles } from "./plan.ts"
import { needsElf, stageSettings } from "./settingFiles.ts"
import { makeOwnFile, ownFiles, stageForFirecracker } from "./stageFirecracker.ts"

/** A VM whose files are being staged. */
export interface VmStage {
  readonly root: StageRoot
  /** Adds a disk: of the host, or staged already. */
  add(drive: Drive): Promise<void>
  /** Puts the stage in place, complete, and returns what to boot. */
  finish(): Staged
  /** Closes the stage; what is in it stays. */
  close(): void
}

/** A VM whose files are in place. */
export interface Staged {
  readonly boot: Boot
  /** The uid and the root directory that the VMM changes to. */
  readonly runsAs: { readonly uid: number; readonly root: string } | undefined
}

/** What a VM is staged from. */
export interface Staging {
  readonly session: Session
  readonly spec: Spec
  readonly vmm: Vmm
  readonly program: Program
  readonly confinement: ConfinementPlan
  readonly signal: AbortSignal
  /** The directory of a snapshot to restore. */
  readonly restore: string | undefined
  readonly log: Log
}

/** Makes a VM's runtime directory and its jail, or its plain stage, with all that its spec names in it. */
export async function stageVm(staging: Staging): Promise<VmStage> {
  const { session, confinement } = staging
  const { layout, journal } = session
  const disks = disksOf(staging.spec.drives).map((name) => ({ kind: "disk", name }) as const)
  // Released in reverse: a disk is given back once no jail has it.
  journal.acquire(...disks, { kind: "runtime", path: layout.runtime }, stageResource(staging))
  // Sticky: then a sweep can remove exactly the socket that it found dead.
  mkdirSync(layout.runtime, { mode: 0o1700 })
  withDescriptor(openAt(AT_FDCWD, layout.runtime, O.PATH | O_NOFOLLOW), (dir) =>
    symlinkAt(markOf(layout), dir, RUNTIME_MARK),
  )
  const { spec, vmm } = staging
  const kernel = needsElf(vmm.name) ? await elfKernel(spec.kernel, layout.kernels) : spec.kernel
  const drives = staging.restore === undefined ? spec.drives : savedDisks(spec.drives, staging.restore)
  const ready = { ...staging, spec: { ...spec, kernel, drives } }
  return confinement.jail === undefined ? stagePlain(ready) : stageJail(ready, confinement.jail)
}

// --- internal ---

/** What is made to stage into. */
function stageResource({ session, vmm, program, confinement }: Staging): Resource {
  if (confinement.jail === undefined) return { kind: "stage", path: session.layout.stage }
  return { kind: "jail", vmm: vmm.jailName(program), root: null }
}

/** Says that an image is converted, and every ten seconds how far that is. */
function conversionTold(log: Log): (path: string) => OnProgress {
  return (path) => {
    let said = performance.now() - TELL_MS + FIRST_TELL_MS
    return (done, total) => {
      if (performance.now() - said < TELL_MS) return
      said = performance.now()
      log.info(`converting ${path}: ${formatSize(done)} of ${formatSize(total)}`)
    }
  }
}

const FIRST_TELL_MS = 1000
const TELL_MS = 10_000

/** Without a jail the VMM uses the files where they are. */
async function stagePlain({ session, spec, vmm, program, restore, signal, log }: Staging): Promise<VmStage> {
  const root = makeStage(session.layout.stage)
  if (vmm.name === "firecracker") {
    for (const path of Object.values(ownFiles(session.layout, spec.firecracker))) makeOwnFile(path)
  }
  const drives: StagedDrive[] = []
  const add = async (drive: Drive) => {
    const how = { name: savedDisk(drives.length), signal, onProgress: conversionTold(log) }
    const lost = restore === undefined ? lostWrites(drive, root) : undefined
    if (lost !== undefined) log.info(lost)
    const asItIs = restore !== undefined
    drives.push(
      isDisk(drive) ? await useDisk(session.layout, drive, how) : await useDrive(root, drive, { ...how, asItIs }),
    )
  }
  try {
    for (const drive of spec.drives) await add(drive)
  } catch (error) {
    closeStage(root)
    throw error
  }
  const finish = () => {
    const saved = restore === undefined ? undefined : snapshotFiles(restore)
    const { uffd } = spec.firecracker
    const memory = uffd === undefined ? saved?.memory : hostPath(uffd)
    const restored = saved &&
      memory && { state: withoutJail(saved.state).jail, memory: withoutJail(memory).jail, uffd: uffd !== undefined }
    const files = { ...plannedFiles(spec, [], undefined), drives, restore: restored }
    return { boot: planBoot(spec, files, { id: session.id, vmm, program, confinement: undefined }), runsAs: undefined }
  }
  return {
    root,
    add,
    finish,
    close: () => closeStage(root),
  }
}

async function stageJail(staging: Staging, wanted: NonNullable<ConfinementPlan["jail"]>): Promise<VmStage> {
  const { session, spec, vmm, program, signal, restore, log } = staging
  const { id, layout, journal, db } = session
  const name = vmm.jailName(program)
  const owner = ownerOf(
    takeUid(db, id, { wanted: wanted.uid, range: wanted.uid === undefined ? ownUidRange() : undefined }),
    wanted.gid,
  )
  const site = { base: layout.jails, vmm: name, id }
  let inode = ""
  const jail = makeJail(site, owner, (root) => {
    inode = root
    journal.refine({ kind: "jail", vmm: name, root })
  })
  const drives: StagedDrive[] = []
  const add = async (drive: Drive) => {
    const how = { name: savedDisk(drives.length), signal, layout, onProgress: conversionTold(log) }
    const lost = restore === undefined ? lostWrites(drive, jail) : undefined
    if (lost !== undefined) log.info(lost)
    drives.push(isDisk(drive) ? await stageDisk(jail, drive, how) : await stageDrive(jail, drive, how))
  }
  let files: Omit<StagedFiles, "drives">
  try {
    const stageReadOnly = (name: string, path: string) =>
      stageFile(jail, name, path, { readonly: true, way: undefined, signal })
    const kernel = await stageReadOnly(IN_JAIL.kernel, spec.kernel)
    const initrd = spec.initrd === undefined ? undefined : await stageReadOnly(IN_JAIL.initrd, spec.initrd)
    for (const drive of spec.drives) await add(drive)
    let { firecracker } = spec
    const stageSnapshot = async (dir: string): Promise<SnapshotFiles> => {
      const saved = snapshotFiles(dir)
      const state = (await stageReadOnly(`${IN_JAIL.restore}/state`, saved.state)).jail
      const { uffd } = spec.firecracker
      if (uffd !== undefined)
        return {
          state,
          memory: bindSocket(jail, `${IN_JAIL.restore}/uffd`, { setting: HANDLER_SETTING, path: uffd }).jail,
          uffd: true,
        }
      return { state, memory: (await stageReadOnly(`${IN_JAIL.restore}/memory`, saved.memory)).jail }
    }
    if (vmm.name === "firecracker") {
      await stageForFirecracker(jail, ownFiles(layout, spec.firecracker), { program, signal })
      firecracker = await stageSettings(jail, spec.firecracker, signal)
    }
    const restored = restore === undefined ? undefined : await stageSnapshot(restore)
    files = { kernel, initrd, firecracker, restore: restored }
    // The user-mode network looks up the host's name servers when the guest asks it for a name.
    if (spec.network && spec.network.mode === "user")
      await stageCopy(jail, "etc/resolv.conf", "/etc/resolv.conf", { signal })
  } catch (error) {
    jail.close()
    throw error
  }
  const finish = () => {
    jail.place()
    const confinement = { root: jail.path, ...owner }
    const boot = planBoot(spec, { ...files, drives }, { id, vmm, program, confinement })
    return { boot, runsAs: { uid: owner.uid, root: inode } }
  }
  return { root: jail, add, finish, close: jail.close }
}
