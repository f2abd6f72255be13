import { S } from "../../base/linux/constants.ts"
import { isType } from "../../base/linux/files.ts"
import { addressOf, formatAddress, formatIpv6, ipv6Bytes, parseSubnet } from "../../base/terms/address.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { type Blocker, findBlockers, type Guest } from "../../host/firewall/blockers.ts"
import { findNameServers, NAME_SERVER_HINT } from "../../host/network/guestWords.ts"
import { strangerWords } from "../../host/network/repair.ts"
import { DEFAULT_BRIDGE, defaultSubnet, isOwnBridge } from "../../inputs/schema/network.ts"
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
  const known = waysOut(host).flatMap((link) => {
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

/** Whether this host knows a name server that guests can reach. */
export function checkNameServers(host: Host): Finding {
  const { servers, why } = findNameServers((path) => host.read(path))
  if (why === undefined) return ok(`guests are told the name servers ${servers.join(" and ")}`)
  return warn(`guests are told no name server: ${why}`, NAME_SERVER_HINT)
}

/** Whether the networks of VMs that are up are as they were made. */
export function checkNetworks(host: Host): Finding {
  if (host.uid !== 0) return unknown("the networks of VMs can be looked at by root only", "sudo banger doctor")
  const faults = host.networkFaults()
  const [stranger, ...others] = host.strangePorts()
  if (faults.length === 0 && stranger !== undefined) {
    const { what, hint } = strangerWords(stranger)
    return warn(others.length === 0 ? what : `${what}; and ${others.length} more`, hint)
  }
  if (faults.length === 0) return ok("the networks of VMs that are up are as they were made")
  const lost = faults.filter(({ restorable }) => !restorable)
  const mends = [
    ...(lost.length < faults.length ? ["banger net rm"] : []),
    ...lost.map(({ vm }) => `banger restart ${vm}`),
  ]
  const some = faults.slice(0, 5).map(({ vm, what }) => `${vm}: ${what}`)
  const more = faults.length > some.length ? `, and ${faults.length - some.length} more` : ""
  return warn(`something has changed networks of VMs: ${some.join(", ")}${more}`, mends.join("; "))
}

/** Whether ports of VMs that are up are theirs alone. */
export function checkPorts(host: Host): Finding {
  if (host.uid !== 0)
    return unknown("rules that forward ports of VMs can be looked at by root only", "sudo banger doctor")
  const [first, ...others] = host.forwardedElsewhere()
  if (first === undefined) return ok("no other program forwards a port of a VM that is up")
  const more = others.length === 0 ? "" : `; and ${others.length} more`
  return warn(`${first}${more}`, "banger net check")
}

/** Whether the settings of interfaces can be changed: each of a VM's gets its own. */
export function checkSettings(host: Host): Finding {
  if (host.uid !== 0) return unknown("the settings of interfaces are changed by root", "sudo banger doctor")
  if (host.stat("/proc/sys/net/ipv4/conf/default") === undefined) return unknown("there is no /proc/sys/net")
  if (host.writable("/proc/sys/net/ipv4/conf/default")) return ok("the settings of interfaces can be changed")
  const words = "/proc/sys is read-only: VMs can have no network of their own"
  return warn(
    words,
    "mount -o remount,bind,rw /proc/sys; in a container that must not: start it with --privileged, or /proc/sys writable",
  )
}

/** Whether NetworkManager, where it is, leaves the interfaces of VMs alone. */
export function checkNetworkManager(host: Host): Finding {
  if (host.stat("/run/NetworkManager") === undefined) return ok("NetworkManager does not run here")
  const directories = ["/etc", "/run", "/usr/lib"].map((base) => `${base}/NetworkManager/conf.d`)
  const files = [
    "/etc/NetworkManager/NetworkManager.conf",
    ...directories.flatMap((directory) => filesIn(host, directory)),
  ]
  // What is excepted there is managed.
  const lists = /^\s*unmanaged-devices\s*\+?=.*(?<!except:)interface-name:bgr/m
  const told = files.some((path) => lists.test(host.read(path) ?? ""))
  if (told) return ok("NetworkManager leaves the interfaces of VMs alone")
  const file = "/etc/NetworkManager/conf.d/90-banger.conf"
  const mend = `printf '[keyfile]\\nunmanaged-devices+=interface-name:bgr*\\n' > ${file} && nmcli general reload conf`
  return warn("NetworkManager is not told to leave the interfaces of VMs alone (bgr*): it may change them", mend)
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

/** Whether rules of others refuse what a VM sends beyond this host, or what comes to its ports. */
export function checkForwardPolicy(host: Host): Finding {
  const found = blockers(host)
  if ("is" in found) return found
  // Which are open to the world is for a firewall to say: this is of any.
  const shut = found.filter(({ ways }) => ways.includes("out") || ways.includes("in"))
  if (shut.length === 0) return ok("no rules of others refuse what is forwarded for VMs")
  // Then they judge what a bridge of the user's carries, too.
  const carried = host.read("/proc/sys/net/bridge/bridge-nf-call-iptables")?.trim() === "1"
  const also = carried ? ", and what bridges of yours carry (net.bridge.bridge-nf-call-iptables=1)" : ""
  const out = shut.some(({ ways }) => ways.includes("out"))
  const what = out ? "what VMs send beyond this host" : "what comes to ports of VMs"
  return warn(`${whoseOf(shut)} rules refuse ${what}${also}: ${namesOf(shut)}`, mendsOf(shut))
}

/** Whether rules of others refuse what a VM sends to this host itself. */
export function checkHostPolicy(host: Host): Finding {
  const found = blockers(host)
  if ("is" in found) return found
  const shut = found.filter(({ ways }) => ways.includes("here"))
  if (shut.length === 0) return ok("no rules of others refuse what VMs send to this host")
  return warn(`${whoseOf(shut)} rules refuse what VMs send to this host itself: ${namesOf(shut)}`, mendsOf(shut))
}

// --- internal ---

function filesIn(host: Host, directory: string): readonly string[] {
  return (host.list(directory) ?? []).map((name) => `${directory}/${name}`)
}

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

/** What a firewall refuses of what a VM of banger's would send, on each of its bridges; of the first to come where there is none. */
function blockers(host: Host): readonly Blocker[] | Finding {
  if (host.uid !== 0) return unknown("the rules can be read by root only", "sudo banger doctor")
  const bridges = (host.list("/sys/class/net") ?? []).filter(
    (name) => isOwnBridge(name) && host.stat(`/sys/class/net/${name}/bridge`) !== undefined,
  )
  const [uplink] = waysOut(host)
  const guests = (bridges.length === 0 ? [DEFAULT_BRIDGE] : bridges).flatMap((bridge): readonly Guest[] => {
    const base = baseOf(host, bridge) ?? parseSubnet(defaultSubnet(bridge))?.base ?? 0
    const port = { protocol: "tcp", host: 8080, guest: 80 } as const
    const own = { address: formatAddress(base + 2), gateway: formatAddress(base + 1), ports: [port] }
    const common = { bridge, named: "bgr*", uplink }
    const network = networkOf6(host, bridge)
    const six = (at: number) => formatIpv6(ipv6Bytes(network ?? new Uint8Array(8), at))
    return [
      { ...common, family: "ip", ...own },
      ...(network === undefined
        ? []
        : [{ ...common, family: "ip6" as const, address: six(2), gateway: six(1), ports: [] }]),
    ]
  })
  const found = findBlockers(host, guests)
  if (found === undefined)
    return unknown("neither nft nor iptables tells all rules of this host: nft list ruleset, iptables-save")
  const one = (blocker: Blocker) => `${blocker.chain} ${blocker.mend}`
  return [...new Map(found.map((blocker) => [one(blocker), blocker])).values()]
}

/** The lowest address of the network that a bridge has, by the host's routes. */
function baseOf(host: Host, bridge: string): number | undefined {
  const routes = (host.read("/proc/net/route") ?? "").split("\n").map((line) => line.trim().split(/\s+/))
  const [, to = ""] = routes.find(([link, , gateway]) => link === bridge && /^0+$/.test(gateway ?? "")) ?? []
  // As this machine has it in memory.
  return /^[\dA-F]{8}$/.test(to) ? addressOf(Uint8Array.fromHex(to).reverse()) : undefined
}

/** The unique local network of a bridge where guests have IPv6, as the first 8 bytes of an address. */
function networkOf6(host: Host, bridge: string): Uint8Array | undefined {
  const addresses = (host.read("/proc/net/if_inet6") ?? "").split("\n").map((line) => line.trim().split(/\s+/))
  const [address] = addresses.find(([hex = "", , , , , link]) => link === bridge && /^fd[\da-f]{30}$/.test(hex)) ?? []
  return address === undefined ? undefined : Uint8Array.fromHex(address).subarray(0, 8)
}

function whoseOf(found: readonly Blocker[]): string {
  const names = [...new Set(found.flatMap(({ whose }) => whose ?? []))]
  return names.length === 0 ? "others'" : names.map((name) => `${name}'s`).join(" and ")
}

const namesOf = (found: readonly Blocker[]) =>
  [...new Set(found.map(({ chain, family }) => (family === "ip6" ? `${chain} by IPv6` : chain)))].join(", ")
const mendsOf = (found: readonly Blocker[]) => [...new Set(found.map(({ mend }) => mend))].join(" && ")

/** The interfaces of default routes. */
function waysOut(host: Host): readonly string[] {
  const out = new Set([
    ...defaultLinks(host.read("/proc/net/route") ?? "", { to: 1, mask: 7, link: 0 }),
    ...defaultLinks(host.read("/proc/net/ipv6_route") ?? "", { to: 0, mask: 1, link: 9 }),
  ])
  out.delete("lo")
  return [...out]
}
