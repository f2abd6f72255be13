import { Failure } from "../../base/terms/failure.ts"
import { mayBeTooLong, requireCommandLine } from "../../host/vmm/commandLine.ts"
import type { Taking, VmmNeeds } from "../../host/vmm/vmm.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import { specOfRecord } from "../../inputs/plugin/specOfRecord.ts"
import { trustAgain, trustOf } from "../../inputs/plugin/trust.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { disksDirectory, kernelsDirectory } from "../../store/state/places.ts"
import type { VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { type Candidates, type Choice, findCandidates } from "../../supervisor/boot/chooseVmm.ts"
import { type ConfinementPlan, likelyOwner, planConfinement } from "../../supervisor/boot/confinement.ts"
import { requireDisks, requireDrives, requireNoDisks } from "../../supervisor/boot/drives.ts"
import { requireHandler } from "../../supervisor/boot/handler.ts"
import { driveId } from "../../supervisor/boot/plan.ts"
import { prepare } from "../../supervisor/boot/prepare.ts"
import { requireFitting, requireNetwork } from "../../supervisor/boot/requireNetwork.ts"
import { requireKernelFor, requireSettingFiles } from "../../supervisor/boot/settingFiles.ts"
import { requireLibraries } from "../../supervisor/boot/stageFirecracker.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { withGuestNetwork } from "../../supervisor/snapshot/guestNetwork.ts"
import { findSnapshot, type Snapshot } from "../../supervisor/snapshot/manifest.ts"
import type { RunRequest } from "./runRequest.ts"

/** All that is known of a run before its first boot. */
export interface ResolvedRun extends Choice {
  readonly request: RunRequest
  readonly plugin: ResolvedPlugin
  readonly confinement: ConfinementPlan
  /** What its first boot goes on from, instead. `plugin` has its guest's network already. */
  readonly restore: Snapshot | undefined
  /** That its disks may come to need more room than there is. */
  readonly disksNotice: string | undefined
}

/**
 * Does all that comes before the first boot: loads the plugin, runs its `configure` hooks, chooses the VMM, and checks that
 * both can do what is asked for. Throws a failure; nothing is acquired, so that nothing needs to be undone.
 */
export async function resolveRun(host: PluginHost, request: RunRequest): Promise<ResolvedRun> {
  const candidates = findCandidates()
  return await resolvePrepared(host, request, { plugin: await preparePlugin(host, request), candidates })
}

/** Loads the plugin of a run and runs its `configure` hooks: the first part of `resolveRun`. */
export async function preparePlugin(
  { interrupts, trace, watchdog }: PluginHost,
  request: RunRequest,
): Promise<ResolvedPlugin> {
  const surroundings = { args: request.args, log: request.log }
  const trust = trustAgain(trustOf(process.geteuid?.() ?? 0, process.env.SUDO_UID), request.asker)
  const prepared = await prepare(request.plugin, request, { surroundings, interrupts, trace, watchdog, trust })
  interrupts.stop.throwIfAborted()
  return limited(prepared, request.timeout)
}

/** The other part of `resolveRun`: of a plugin that was loaded. */
export async function resolvePrepared(
  { trace }: PluginHost,
  request: RunRequest,
  { plugin, candidates }: { readonly plugin: ResolvedPlugin; readonly candidates: Candidates },
): Promise<ResolvedRun> {
  const root = process.geteuid?.() === 0
  const restored = request.restore !== undefined
  const { spec } = plugin
  const confinement = planConfinement(spec, root)
  requireDrives(spec.drives, confinement.jail)
  if (restored) requireNoDisks(spec.drives)
  const notice = requireDisks(spec.drives, disksDirectory(ownPlaces()))
  const jailed = confinement.jail !== undefined
  const wanted = { vmm: wantedVmm(spec), accel: spec.accel }
  const choice = await trace.span("choose", () => candidates.choose(wanted, jailed))
  const { vmm, program } = choice
  const restore = request.restore === undefined ? undefined : findSnapshot(request.restore, { vmm, program })
  const fitted = restore === undefined ? plugin : withGuestNetwork(plugin, restore)
  requireFitting(fitted.spec, vmm.name, restored)
  vmm.require(program, needsOf(spec, { jailed, restored }))
  if (jailed && vmm.name === "firecracker") requireLibraries(program)
  if (!restored) await requireKernelFor(spec, vmm.name, kernelsDirectory(ownPlaces()))
  if (vmm.name === "firecracker") requireSettingFiles(spec.firecracker, likelyOwner(confinement.jail))
  if (mayBeTooLong(fitted.spec)) {
    const { plannedBoot } = await import("../../supervisor/boot/planRun.ts")
    requireCommandLine(spec, { vmm, boot: plannedBoot(fitted.spec, choice, { ...confinement, restore }).boot })
  }
  if (restored && spec.firecracker.uffd !== undefined) requireHandler(spec.firecracker.uffd, confinement)
  return { ...choice, request, plugin: fitted, confinement, restore, disksNotice: notice }
}

/**
 * Throws a failure unless this user can, on this host, have what a run asks for; a plan is printed all the same. `named`
 * looks up the VM of the run's name: if there is one that lives, what it has is the run's own.
 */
export function requireRunnable({ request, plugin, vmm }: ResolvedRun, named: () => VmRecord | undefined): void {
  vmm.requireNow(takingOf(plugin.spec), () => {
    const record = named()
    return record === undefined || isFinal(record.state) ? undefined : takenBy(record)
  })
  requireNetwork(plugin.spec, process.geteuid?.() === 0)
  requireSupervised(request, plugin)
}

// --- internal ---

/** Undefined where its record cannot be read: then nothing is known that it would give back. */
function takenBy(record: VmRecord): Taking | undefined {
  try {
    return takingOf(specOfRecord(record))
  } catch {
    return undefined
  }
}

function takingOf({ memory, firecracker }: Pick<Spec, "memory" | "firecracker">): Taking {
  return { memoryMiB: memory, firecracker }
}

function needsOf(
  { vcpus, memory, bootArgs, initrd, drives, firecracker, network }: ResolvedPlugin["spec"],
  how: Pick<VmmNeeds, "jailed" | "restored">,
): VmmNeeds {
  // The VMM's own user-mode network is none that Firecracker has.
  const networked = network !== false && network.mode !== "user"
  const named = drives.map(({ id, root }, index) => ({ id: driveId(id, index), root }))
  const guest = { vcpus, memoryMiB: memory, bootArgs, initrd: initrd !== undefined, drives: named }
  return { ...guest, firecracker, networked, ...how }
}

/** Only QEMU has a user-mode network. */
function wantedVmm({ network, vmm }: ResolvedPlugin["spec"]): ResolvedPlugin["spec"]["vmm"] {
  const user = network !== false && network.mode === "user"
  return user && vmm === "auto" ? "qemu" : vmm
}

function limited(plugin: ResolvedPlugin, timeout: number | undefined): ResolvedPlugin {
  if (timeout === undefined) return plugin
  const { spec, written } = plugin
  const given = typeof written.timeouts === "object" ? written.timeouts : {}
  return {
    ...plugin,
    spec: { ...spec, timeouts: { ...spec.timeouts, run: timeout } },
    written: { ...written, timeouts: { ...given, run: `${timeout}ms` } },
  }
}

/** What only a supervisor can do is not promised without one. */
function requireSupervised({ supervisor }: RunRequest, { spec }: ResolvedPlugin): void {
  if (supervisor !== "none") return
  const needs = spec.timeouts.run !== undefined ? "timeouts.run" : spec.restart.policy !== "no" ? "restart" : undefined
  if (needs === undefined) return
  const detail = { hint: "use --detach instead", subject: needs }
  throw new Failure("UNSUPPORTED", `${needs} needs a supervisor, and --supervise=none leaves none`, detail)
}
