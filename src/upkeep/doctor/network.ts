import { S } from "../../base/linux/constants.ts"
import { isType } from "../../base/linux/files.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { ANY_BRIDGE, forwardBlockers } from "../../host/firewall/blockers.ts"
import { type Finding, fail, ok, unknown, warn } from "./finding.ts"
import type { Host } from "./host.ts"

/** Whether taps can be made. */
export function checkTun(host: Host): Finding {
  const stat = host.stat("/dev/net/tun")
  const hint = "modprobe tun, and if it is still missing: mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200"
  if (stat === undefined) return warn("there is no /dev/net/tun: VMs can have no network of their own", hint)
  if (!isType(stat, S.IFCHR) || stat.rdev !== "10:200")
    return fail("/dev/net/tun is not the tun device", `rm /dev/net/tun; ${hint}`)
  try {
    host.open("/dev/net/tun")
    return ok("/dev/net/tun can be used")
  } catch (error) {
    if (host.uid !== 0) return ok("/dev/net/tun is there; taps are made by root")
    return warn(`/dev/net/tun cannot be opened: ${messageOf(error)}: VMs can have no network of their own`, hint)
  }
}

/** Whether the program that sets a VM network's rules is there, and the kernel has them. */
export function checkNft(host: Host): Finding {
  const said = host.run(["nft", "--version"])
  const hint = "apt-get install nftables"
  if (said === undefined) return warn("nft is not there: VMs can have no network beyond this host", hint)
  if (host.uid !== 0) return ok("nft is there; rules are set by root")
  const listed = host.run(["nft", "list", "tables"])
  if (listed?.exit === 0) return ok("nft works")
  return warn("nft cannot list tables: this kernel has no nf_tables, or a container forbids it", "modprobe nf_tables")
}

/** Whether the flows of a VM that has ended can be forgotten: what is sent in them would reach the next VM. */
export function checkFlows(host: Host): Finding {
  if (host.uid !== 0)
    return unknown("the flows that this host tracks can be asked for by root only", "sudo banger doctor")
  try {
    host.requireTracking()
    return ok("the flows of a VM that has ended can be forgotten (connection tracking)")
  } catch (error) {
    const what = "flows of VMs that have ended cannot be forgotten, and what is sent in them may reach the next VM"
    return warn(`${what}: ${messageOf(error)}`, "modprobe nf_conntrack_netlink")
  }
}

/** What the ways out carry: networks of VMs take the least of it. */
export function checkMtu(host: Host): Finding {
  const out = new Set([
    ...defaultLinks(host.read("/proc/net/route") ?? "", { to: 1, mask: 7, link: 0 }),
    ...defaultLinks(host.read("/proc/net/ipv6_route") ?? "", { to: 0, mask: 1, link: 9 }),
  ])
  out.delete("lo")
  const known = [...out].flatMap((link) => {
    const mtu = Number(host.read(`/sys/class/net/${link}/mtu`)?.trim())
    return Number.isInteger(mtu) && mtu > 0 ? [{ link, mtu }] : []
  })
  const [least] = known.toSorted((a, b) => a.mtu - b.mtu)
  if (least === undefined) return ok("no way out of this host is known: networks of VMs carry 1500 bytes")
  const { link, mtu } = least
  if (mtu < 1500)
    return ok(`the way out by ${link} carries ${mtu} bytes, and so do networks of VMs: their guests are told`)
  if (mtu === 1500) return ok("the ways out carry 1500 bytes, and so do networks of VMs")
  return ok(`the way out by ${link} carries ${mtu} bytes, networks of VMs 1500: network: { mtu: ${mtu} } is for more`)
}

/** Whether packets are passed on between a VM's bridge and the world. */
export function checkForwarding(host: Host): Finding {
  const value = host.read("/proc/sys/net/ipv4/ip_forward")?.trim()
  if (value === undefined) return unknown("/proc/sys/net/ipv4/ip_forward is not there")
  if (value === "1") return ok("packets are forwarded (net.ipv4.ip_forward=1)")
  const hint =
    "sysctl -w net.ipv4.ip_forward=1, and in a file of /etc/sysctl.d to keep it; or in a plugin: network: { forward: true }"
  return warn("packets are not forwarded (net.ipv4.ip_forward=0): VMs reach this host only", hint)
}

/** Whether rules of others drop what a VM sends beyond this host: Docker sets the policy of FORWARD to drop. */
export function checkForwardPolicy(host: Host): Finding {
  if (host.uid !== 0) return unknown("the rules can be read by root only", "sudo banger doctor")
  const found = forwardBlockers(host, ANY_BRIDGE)
  if (found === undefined) return unknown("neither nft nor iptables is there to ask")
  if (found.length === 0) return ok("no rules of others drop what is forwarded")
  const whose = found.some(({ docker }) => docker) ? "Docker's" : "others'"
  const mends = found.map(({ chain, mend }) => mend ?? `let what comes from and goes to bgr* pass in ${chain}`)
  const names = found.map(({ chain }) => chain).join(", ")
  // Then they judge what a bridge of the user's carries, too.
  const carried = host.read("/proc/sys/net/bridge/bridge-nf-call-iptables")?.trim() === "1"
  const also = carried ? ", and what bridges of yours carry (net.bridge.bridge-nf-call-iptables=1)" : ""
  return warn(`${whose} rules drop what VMs send beyond this host${also}: ${names}`, mends.join(" && "))
}

// --- internal ---

/** The interfaces of default routes in a table of /proc/net, whose fields stand at these places. */
function defaultLinks(
  table: string,
  at: { readonly to: number; readonly mask: number; readonly link: number },
): readonly string[] {
  return table.split("\n").flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const isDefault = [fields[at.to], fields[at.mask]].every((field) => field !== undefined && /^0+$/.test(field))
    return isDefault ? [fields[at.link] ?? ""] : []
  })
}
