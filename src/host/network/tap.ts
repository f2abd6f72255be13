import { isolatePort, setPortVlan, tiePort } from "../../base/linux/bridges.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { close, withDescriptor } from "../../base/linux/files.ts"
import { changeLink, findLink, type Link, listLinks } from "../../base/linux/links.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { giveTap, holdTap, keepTap, newTap, openTun } from "../../base/linux/tun.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatAlias, marksVm, parseAlias, portGroup } from "./names.ts"
import { explained, stillThere, wentAway, withoutTun } from "./refusals.ts"
import { hardenInterface } from "./sysctl.ts"
import { type TapHolders, tapHolders } from "./tapHolders.ts"

/** The tap to make. */
export interface TapPlan {
  readonly name: string
  readonly vm: string
  readonly owner: string
  /** The uid and gid that can open it besides root. */
  readonly user: { readonly uid: number; readonly gid: number }
  /** The index of the bridge that it is a port of. */
  readonly bridge: number
  readonly isolated: boolean
  /** The MAC address of its guest, where that may have no other. */
  readonly onlyMac: string | undefined
  /** In bytes: the bridge's. A bridge that nobody gave an MTU takes the lowest of its ports. */
  readonly mtu: number
  /** What keeps the tap from changing a bridge that is not banger's; undefined on one that is. */
  readonly guest?: GuestPort | undefined
}

/** A tap on a bridge that is not banger's. */
export interface GuestPort {
  /** The tap's own: a bridge without a MAC address of its own takes the lowest of its ports. */
  readonly mac: string
  /** The one VLAN that it is in; undefined: whatever the bridge gives its ports. */
  readonly vlan: number | undefined
}

/** A VMM that was just killed may hold its tap this much longer. */
const RELEASE_WAIT_MS = 2000

/**
 * Makes a VM's tap: marked, owned, a port of the bridge, up. Until all of this is done, the tap ends with this process. A
 * tap of this owner that a dead VM left is replaced. Throws a failure when a process holds that tap, or it is another's.
 */
export function makeTap(route: Route, plan: TapPlan): void {
  const { name, vm, owner, user, bridge, isolated, onlyMac, mtu, guest } = plan
  const fd = open()
  try {
    try {
      newTap(fd, name)
    } catch (error) {
      if (errorCode(error) !== "EBUSY" || removeTap(route, name, { owner }) === "gone") throw error
      newTap(fd, name)
    }
    // Whoever can open /dev/net/tun can use a tap without an owner.
    giveTap(fd, user.uid, user.gid)
    hardenInterface(name, false)
    const link = findLink(route, name)
    if (link === undefined) throw wentAway(`the tap ${name}`)
    const alias = formatAlias({ kind: "tap", vm, owner })
    const group = portGroup(owner, guest === undefined ? "own" : "users")
    // One request: the kernel gives it its MAC and MTU before it makes it a port, and brings it up after (do_setlink()).
    const own = guest === undefined ? { up: true } : { mac: guest.mac }
    changeLink(route, link.index, name, { ...own, mtu, alias, group, master: bridge })
    if (guest?.vlan !== undefined) setPortVlan(route, { index: link.index, name }, guest.vlan)
    if (isolated) isolatePort(route, { index: link.index, name }, true)
    if (onlyMac !== undefined) tiePort(route, { index: link.index, name }, onlyMac)
    if (guest !== undefined) changeLink(route, link.index, name, { up: true })
    requireHolder(findLink(route, name), plan)
    keepTap(fd, true)
  } catch (error) {
    throw explained(error, `the tap ${name} cannot be made`)
  } finally {
    close(fd)
  }
}

/**
 * Throws a failure unless the kernel says that a VM's VMM will be able to open its tap. By then the VMM has neither root's
 * uid nor any capability, and would only be told EPERM.
 */
export function requireHolder(link: Link | undefined, { name, vm, user }: Pick<TapPlan, "name" | "vm" | "user">): void {
  const holder = link?.holder
  if (holder?.uid === user.uid && holder.gid === user.gid) return
  const [is, is2] = [holder?.uid ?? "nobody", holder?.gid ?? "nobody"]
  const hint = "something changes interfaces as they are made (a rule of udev?): look for it, then start the VM again"
  const message = `the tap ${name} is of uid ${is} and gid ${is2}, so ${vm} as ${user.uid}:${user.gid} cannot open it`
  throw new Failure("CHANGED", message, { hint, subject: name })
}

/** The owner that a tap must have to be removed; without `vm` it may be any VM's of this owner. */
export interface TapOwner {
  readonly owner: string
  readonly vm?: string | undefined
  /** The names of this VM's other interfaces. With it a tap is found by its mark, too, where somebody has renamed it. */
  readonly others?: readonly string[] | undefined
}

/** Whose an interface is, and under which names it is looked for. */
export interface LinkOwner {
  readonly owner: string
  readonly vm: string
  /** The names of the VM's other interfaces. */
  readonly others?: readonly string[]
}

/**
 * A VM's interface: the one of this name, or one that bears the VM's mark and has none of the names of its others: somebody has
 * renamed it.
 */
export function findOwnLink(route: Route, name: string, whose: LinkOwner): Link | undefined {
  return ownLinkAmong({ named: findLink(route, name), marked: () => listLinks(route) }, whose)
}

/** As `findOwnLink`, of the interface of the name, and of those that may bear the VM's mark. Pure but for `marked`. */
export function ownLinkAmong(
  { named, marked }: { readonly named: Link | undefined; readonly marked: () => readonly Link[] },
  { others = [], ...whose }: LinkOwner,
): Link | undefined {
  const isIts = ({ alias }: Link) => marksVm(alias, whose)
  if (named !== undefined && (isIts(named) || named.alias === undefined)) return named
  return marked().find((one) => isIts(one) && !others.includes(one.name)) ?? named
}

/**
 * Removes a tap of this owner and proves it gone. While the tap is removed, this process holds it, which only one process
 * can: it is never taken from a VMM that runs. Throws a failure that names who holds the tap, or whose it is.
 */
export function removeTap(route: Route, leased: string, whose: TapOwner): "removed" | "gone" {
  const { owner, vm, others } = whose
  const byMark = vm !== undefined && others !== undefined
  const link = byMark ? findOwnLink(route, leased, { owner, vm, others }) : findLink(route, leased)
  if (link === undefined) return "gone"
  const { name } = link
  requireOwn(link, whose)
  withDescriptor(open(), (fd) => {
    hold(fd, link)
    const held = findLink(route, name)
    // Another interface has the name now: the one that was examined is gone, and this one is not ours to judge.
    if (held?.index !== link.index || held.alias !== link.alias) return
    keepTap(fd, false)
  })
  if (findLink(route, name)?.index === link.index) throw stillThere(`the tap ${name}`, name)
  return "removed"
}

/** Removes a link that is a tap of this owner; tells whether it was one. Throws a failure that names who holds the tap. */
export function reclaimTap(route: Route, link: Link, owner: string): boolean {
  if (link.kind !== "tun" || parseAlias(link.alias)?.owner !== owner) return false
  return removeTap(route, link.name, { owner }) === "removed"
}

// --- internal ---

function open(): number {
  try {
    return openTun()
  } catch (error) {
    throw withoutTun(error)
  }
}

function requireOwn({ name, kind, alias }: Link, { owner, vm }: TapOwner): void {
  const whose = parseAlias(alias)
  if (kind === "tun" && whose?.kind === "tap" && whose.owner === owner && (vm ?? whose.vm) === whose.vm) return
  const what =
    whose === undefined
      ? "bears no mark of banger's"
      : `belongs to the VM ${whose.vm ?? "-"} of the banger whose state is in ${whose.owner}`
  const hint = `if nothing needs it: ip link delete ${name}`
  throw new Failure("CHANGED", `the interface ${name} is there and ${what}: left alone`, { hint, subject: name })
}

function hold(fd: number, { name, alias }: Link): void {
  const deadline = performance.now() + RELEASE_WAIT_MS
  for (;;) {
    try {
      holdTap(fd, name)
      return
    } catch (error) {
      if (errorCode(error) !== "EBUSY") throw explained(error, `the tap ${name} cannot be removed`)
      const holders = tapHolders(name)
      if (holders.pids.length === 0 && performance.now() < deadline) Bun.sleepSync(20)
      else throw held({ name, alias }, holders, error)
    }
  }
}

function held(
  { name, alias }: Pick<Link, "name" | "alias">,
  { pids, unreadable }: TapHolders,
  cause: unknown,
): Failure {
  const vm = parseAlias(alias)?.vm
  const of = vm === undefined ? "" : ` of the VM ${vm}`
  if (pids.length > 0) {
    const hint = vm === undefined ? "end that process first" : `end the VM first: banger rm -f ${vm}`
    return new Failure("IN_USE", `the tap ${name}${of} is held by process ${pids.join(", ")}`, {
      hint,
      subject: name,
      cause,
    })
  }
  const why = unreadable > 0 ? `${unreadable} processes do not let their descriptors be seen` : messageOf(cause)
  const message = `the tap ${name}${of} is held by a process that cannot be found: ${why}`
  return new Failure("IN_USE", message, { subject: name, cause })
}
