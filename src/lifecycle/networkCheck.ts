import { withRoute } from "../linux/rtnetlink.ts"
import { ensureBridge, removeBridge } from "../network/bridge.ts"
import { checkPath, type Step } from "../network/check.ts"
import { linkName, macOf, ownerOf } from "../network/names.ts"
import { applyRules, nftProgram } from "../network/nft.ts"
import { planRules, ruledLeases } from "../network/rules.ts"
import { DEFAULT_BRIDGE, defaultSubnet } from "../plugin/networkSpec.ts"
import { freeLease, listLeases, takeLease } from "../state/leases.ts"
import { newVmId } from "../state/vmId.ts"
import { parseAddress, parseSubnet } from "../terms/address.ts"
import { usage } from "../terms/failure.ts"
import { withNetworkLock } from "./networkLock.ts"
import type { State } from "./session.ts"

/**
 * Sends packets as a guest on a bridge would, from a namespace that is thrown away, and tells how far they came. The
 * bridge is made for it where there is none, and goes again. Throws a failure when that much cannot be done.
 */
export function checkNetwork(state: State, bridge: string | undefined, target: string | undefined): readonly Step[] {
  const to = target === undefined ? undefined : parseAddress(target)
  if (target !== undefined && to === undefined) throw usage(`--to ${target} is no IPv4 address`)
  if (process.geteuid?.() !== 0) throw usage("banger net check makes interfaces: only root can", "run it as root")
  nftProgram()
  return withNetworkLock(() => check(state, bridge ?? DEFAULT_BRIDGE, to))
}

// --- internal ---

function check({ db, where }: State, bridge: string, to: number | undefined): readonly Step[] {
  const owner = ownerOf(where.state)
  const subnet = listLeases(db).find((lease) => lease.bridge === bridge)?.subnet ?? parseSubnet(defaultSubnet(bridge))
  if (subnet === undefined || !/^bgr(?:\d{1,4}|-[a-z0-9-]{1,11})$/.test(bridge)) {
    throw usage(`--bridge ${bridge} is no name for a bridge of banger's`)
  }
  const vm = newVmId("check")
  const settings = { ports: [], nat: true, isolate: true, ipv6: false, netns: true, number: undefined }
  const lease = takeLease(db, { vm, bridge, subnet, mac: macOf(vm), link: linkName(vm), ...settings })
  try {
    return withRoute((route) => {
      const index = ensureBridge(route, { name: bridge, subnet, ipv6: false, owner })
      applyRules(planRules(owner, ruledLeases(listLeases(db))))
      return checkPath(route, lease, index, owner, to)
    })
  } finally {
    freeLease(db, vm)
    const others = listLeases(db)
    applyRules(planRules(owner, ruledLeases(others)))
    if (!others.some((one) => one.bridge === bridge)) withRoute((route) => removeBridge(route, bridge, owner))
  }
}
