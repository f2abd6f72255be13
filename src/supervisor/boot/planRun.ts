import * as v from "valibot"
import { cgroupPath } from "../../host/cgroup/cgroup.ts"
import { jailRoot } from "../../host/jail/base.ts"
import type { Boot, Chosen } from "../../host/vmm/vmm.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import { isOwnBridge } from "../../inputs/schema/network.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { ownUidRange } from "../../store/state/uids.ts"
import { layoutFor } from "../../vm/session.ts"
import { type Snapshot, savedDisks } from "../snapshot/manifest.ts"
import { type Choice, noticeOf } from "./chooseVmm.ts"
import { type ConfinementPlan, ownerOf } from "./confinement.ts"
import { plannedDrive } from "./drives.ts"
import { plannedNetwork, toldNameServers, withNetwork } from "./network.ts"
import { planBoot, plannedFiles, plannedSnapshot, planSteps } from "./plan.ts"
import { requireSocketPaths } from "./vmmSockets.ts"

/** What `banger run --plan --json` prints. */
export const planSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  vmm: v.string(),
  /** How the guest's processors would run. */
  accel: v.picklist(["kvm", "tcg"]),
  /** Which VMM `auto` has taken and why, where it is not the best. */
  notice: v.optional(v.string()),
  /** The VMM's command line. */
  argv: v.pipe(v.array(v.string()), v.readonly()),
  /** What would be done, in order. */
  steps: v.pipe(v.array(v.string()), v.readonly()),
})
export type Plan = Readonly<v.InferOutput<typeof planSchema>>

/** What a run of a prepared VM would do; `restore`: the snapshot that it goes on from, instead of booting. Nothing is acquired. */
export function planRun({ spec }: ResolvedPlugin, chosen: Choice, confinement: Confinement): Plan {
  const { vmm, program } = chosen
  const { cgroup, restore } = confinement
  const { id, layout, boot, drives } = plannedBoot(spec, chosen, confinement)
  requireSocketPaths(chosen, { layout, jailed: confinement.jail !== undefined, firecracker: spec.firecracker })
  const network = spec.network
  const bridge = network === false || isOwnBridge(network.bridge) ? undefined : network
  const converted = drives.flatMap((drive, index) => (drive.format === "qcow2" ? [{ ...drive, index }] : []))
  const steps = planSteps(layout, chosen, {
    bridge,
    converted,
    ...{ boot, cgroup: cgroup && cgroupPath(cgroup.mount, id) },
    restore: restore && { dir: restore.dir, again: spec.unsafeClone },
  })
  const { argv } = vmm.launch(program, boot, layout)
  return { id, name: spec.name, vmm: vmm.name, accel: chosen.accel, notice: noticeOf(chosen), argv, steps }
}

/** The boot that a spec would likely get. Nothing is acquired; without a network it is pure, but for its id. */
export function plannedBoot(
  spec: ResolvedPlugin["spec"],
  { vmm, program }: Chosen,
  { jail, restore }: Confinement,
): PlannedBoot {
  const { id, layout } = layoutFor(spec.name)
  const root = jail && jailRoot({ base: layout.jails, vmm: vmm.jailName(program), id })
  const uid = jail?.uid ?? ownUidRange().first
  const confinement = root === undefined ? undefined : { root, ...ownerOf(uid, jail?.gid) }
  const drives = restore === undefined ? spec.drives : savedDisks(spec.drives, restore.dir)
  const files = {
    ...plannedFiles(
      spec,
      drives.map((drive, index) => plannedDrive(drive, index, layout)),
      root,
    ),
    restore: restore && plannedSnapshot(restore.dir, spec.firecracker.uffd, root),
  }
  const bare = planBoot(spec, files, { id, vmm, program, confinement })
  const network = spec.network
  const boot =
    network === false
      ? bare
      : withNetwork(bare, {
          name: spec.name,
          spec: network,
          network: plannedNetwork(id, network, layout),
          layout,
          mtu: network.mtu,
          dns: toldNameServers(network).dns,
        })
  return { id, layout, boot, drives }
}

// --- internal ---

interface Confinement extends ConfinementPlan {
  /** The snapshot that it goes on from. */
  readonly restore: Pick<Snapshot, "dir"> | undefined
}

interface PlannedBoot extends Pick<ReturnType<typeof layoutFor>, "id" | "layout"> {
  readonly boot: Boot
  readonly drives: Spec["drives"]
}
