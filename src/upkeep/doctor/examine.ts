import { inOneLine, isFailure, messageOf } from "../../base/terms/failure.ts"
import { once } from "../../base/terms/once.ts"
import { isFirst, OWN_USER_NAMESPACE, parseIdMap, uidRangeOf } from "../../store/files/idMap.ts"
import { UID_RANGE } from "../../store/state/uids.ts"
import { findCandidates } from "../../supervisor/boot/chooseVmm.ts"
import { checkCgroups } from "./cgroups.ts"
import { checkDisks } from "./disks.ts"
import {
  checkDirectories,
  checkJailFileSystem,
  checkReflinks,
  checkRuntimeFileSystem,
  checkSameFileSystem,
  checkSocketPaths,
  checkSpace,
} from "./files.ts"
import { type Checked, type Finding, fail, ok, unknown, warn } from "./finding.ts"
import {
  checkConsole,
  checkKsm,
  checkKvmSettings,
  checkMemory,
  checkMounts,
  checkSmt,
  checkSwap,
  checkSysctls,
  checkVulnerabilities,
} from "./hardening.ts"
import type { Host } from "./host.ts"
import { checkBinary, checkCalls, checkCpu, checkEnvironment, checkKernel, checkPath } from "./kernel.ts"
import { checkGuests, checkKvm } from "./kvm.ts"
import { checkLeftovers } from "./leftovers.ts"
import {
  checkFlows,
  checkForwarding,
  checkForwardPolicy,
  checkHostPolicy,
  checkMtu,
  checkNameServers,
  checkNetworkManager,
  checkNetworks,
  checkNft,
  checkPorts,
  checkSettings,
  checkTun,
} from "./network.ts"
import { checkSchedule } from "./schedule.ts"
import { checkChoice, checkFirecracker, checkQemu } from "./vmms.ts"

/** Checks one thing of a host. */
export type Check = (host: Host) => Finding | Promise<Finding>

/** Every check by its id, in the order in which the findings are printed. */
export function checksFor(target: string): Readonly<Record<string, Check>> {
  const candidates = once(() => findCandidates("look"))
  const root = ({ uid }: Host) => uid === 0
  return {
    user: checkUser,
    kernel: checkKernel,
    "system-calls": checkCalls,
    cpu: (host) => checkCpu(host, target),
    binary: checkBinary,
    environment: checkEnvironment,
    path: checkPath,
    kvm: checkKvm,
    guests: checkGuests,
    firecracker: (host) => checkFirecracker(candidates(), root(host)),
    qemu: () => checkQemu(candidates()),
    vmm: (host) => checkChoice(candidates(), root(host)),
    cgroups: checkCgroups,
    directories: checkDirectories,
    "socket-paths": checkSocketPaths,
    "jail-file-system": checkJailFileSystem,
    "runtime-file-system": checkRuntimeFileSystem,
    reflinks: checkReflinks,
    "image-file-system": checkSameFileSystem,
    space: checkSpace,
    disks: checkDisks,
    memory: checkMemory,
    mounts: checkMounts,
    tun: checkTun,
    nft: checkNft,
    flows: checkFlows,
    mtu: checkMtu,
    "name-servers": checkNameServers,
    networks: checkNetworks,
    ports: checkPorts,
    settings: checkSettings,
    "network-manager": checkNetworkManager,
    forwarding: checkForwarding,
    "forward-policy": checkForwardPolicy,
    "host-policy": checkHostPolicy,
    sysctls: checkSysctls,
    swap: checkSwap,
    ksm: checkKsm,
    smt: checkSmt,
    vulnerabilities: checkVulnerabilities,
    "kvm-settings": checkKvmSettings,
    console: checkConsole,
    leftovers: checkLeftovers,
    schedule: checkSchedule,
  }
}

/** Makes every check. One that throws is `unknown`, with the reason, and does not stop the others. */
export async function examine(host: Host, checks: Readonly<Record<string, Check>>): Promise<readonly Checked[]> {
  const findings = Object.entries(checks).map(async ([id, check]) => ({ id, ...(await settle(check, host)) }))
  return Promise.all(findings)
}

// --- internal ---

async function settle(check: Check, host: Host): Promise<Finding> {
  try {
    return await check(host)
  } catch (error) {
    return unknown(`it could not be found out: ${isFailure(error) ? inOneLine(error) : messageOf(error)}`)
  }
}

function checkUser({ uid, read, stat }: Host): Finding {
  if (uid === 0) {
    const map = (path: string) => parseIdMap(read(path) ?? "0 0 4294967295")
    try {
      const { first, count } = uidRangeOf(
        { uids: map("/proc/self/uid_map"), gids: map("/proc/self/gid_map") },
        UID_RANGE,
      )
      const own =
        first === UID_RANGE.first ? "" : `, with uids from ${first} to ${first + count - 1} of this user namespace`
      if (isFirst(stat(OWN_USER_NAMESPACE))) return ok(`root: VMs run in jails${own}`)
      return warn(
        `root of a user namespace: QEMU's VMs run in jails${own}; Firecracker's jailer cannot make device nodes`,
        'have Firecracker run on the host itself, or in a plugin: vmm: "qemu", or jail: false',
      )
    } catch (error) {
      if (!isFailure(error)) throw error
      return fail(`root of a user namespace: ${error.message}`, error.hint)
    }
  }
  return warn(`uid ${uid}, not root: VMs run without a jail, and with no network but QEMU's own`, "sudo banger doctor")
}
