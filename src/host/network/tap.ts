import { errorCode } from "../../base/linux/errors.ts"
import { close, withDescriptor } from "../../base/linux/files.ts"
import { changeLink, findLink, isolatePort, type Link } from "../../base/linux/links.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { giveTap, holdTap, keepTap, newTap, openTun } from "../../base/linux/tun.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatAlias, parseAlias } from "./names.ts"
import { explained, withoutTun } from "./refusals.ts"
import { hardenInterface } from "./sysctl.ts"
import { tapHolders } from "./tapHolders.ts"

/** A tap as it is to be. */
export interface TapPlan {
  readonly name: string
  readonly vm: string
  readonly owner: string
  /** Who can open it besides root. */
  readonly user: { readonly uid: number; readonly gid: number }
  /** The index of the bridge that it is a port of. */
  readonly bridge: number
  readonly isolated: boolean
}

/** A VMM that has just been killed may hold its tap for this long still, in milliseconds. */
const RELEASE_WAIT_MS = 2000

/**
 * Makes a VM's tap: marked, owned, a port of the bridge, up. Until all of it is done it goes with this process. One of
 * this owner that a dead VM left is replaced; throws a failure when a process holds it, or it is somebody else's.
 */
export function makeTap(route: Route, plan: TapPlan): void {
  const { name, vm, owner, user, bridge, isolated } = plan
  const fd = open()
  try {
    try {
      newTap(fd, name)
    } catch (error) {
      if (errorCode(error) !== "EBUSY" || removeTap(route, name, owner) === "gone") throw error
      newTap(fd, name)
    }
    // One without an owner is anybody's who can open /dev/net/tun.
    giveTap(fd, user.uid, user.gid)
    hardenInterface(name, false)
    const link = findLink(route, name)
    if (link === undefined) throw new Failure("FAILED", `the tap ${name} went away while it was made`)
    changeLink(route, link.index, name, { alias: formatAlias({ kind: "tap", vm, owner }), master: bridge, up: true })
    if (isolated) isolatePort(route, { index: link.index, name }, true)
    requireHolder(findLink(route, name), plan)
    keepTap(fd, true)
  } catch (error) {
    throw explained(error, `the tap ${name} cannot be made`)
  } finally {
    close(fd)
  }
}

/**
 * Throws a failure unless the kernel says that a VM's VMM will be able to open its tap: it has neither root's uid nor any
 * capability by then, and all it would hear is EPERM.
 */
export function requireHolder(link: Link | undefined, { name, vm, user }: Pick<TapPlan, "name" | "vm" | "user">): void {
  const holder = link?.holder
  if (holder?.uid === user.uid && holder.gid === user.gid) return
  const [is, is2] = [holder?.uid ?? "nobody", holder?.gid ?? "nobody"]
  const hint = "something changes interfaces as they are made (a rule of udev?): look for it, then start the VM again"
  throw new Failure(
    "FAILED",
    `the tap ${name} is of uid ${is} and gid ${is2}, so ${vm} as ${user.uid}:${user.gid} cannot open it`,
    {
      hint,
    },
  )
}

/**
 * Removes a tap of this owner, and of this VM where one is named, and proves it gone. While it is removed it is held, which only one process can: it is
 * never taken from a VMM that runs. Throws a failure that names who holds it, or that it is somebody else's.
 */
export function removeTap(route: Route, name: string, owner: string, vm?: string): "removed" | "gone" {
  const link = findLink(route, name)
  if (link === undefined) return "gone"
  requireOwn(link, owner, vm)
  withDescriptor(open(), (fd) => {
    hold(fd, link)
    const held = findLink(route, name)
    // Another one of the name: the one that was looked at is gone, and this one is not ours to judge.
    if (held?.index !== link.index || held.alias !== link.alias) return
    keepTap(fd, false)
  })
  if (findLink(route, name)?.index === link.index) throw new Failure("FAILED", `the tap ${name} is still there`)
  return "removed"
}

/**
 * Takes a tap of this owner out of the way, if a link is one. Returns whether it did. Throws a failure that names who
 * holds it.
 */
export function reclaimTap(route: Route, link: Link, owner: string): boolean {
  if (link.kind !== "tun" || parseAlias(link.alias)?.owner !== owner) return false
  return removeTap(route, link.name, owner) === "removed"
}

// --- internal ---

function open(): number {
  try {
    return openTun()
  } catch (error) {
    throw withoutTun(error)
  }
}

function requireOwn({ name, kind, alias }: Link, owner: string, vm: string | undefined): void {
  const whose = parseAlias(alias)
  if (kind === "tun" && whose?.kind === "tap" && whose.owner === owner && (vm ?? whose.vm) === whose.vm) return
  const what =
    whose === undefined
      ? "bears no mark of banger's"
      : `belongs to the VM ${whose.vm ?? "-"} of the banger whose state is in ${whose.owner}`
  const hint = `if nothing needs it: ip link delete ${name}`
  throw new Failure("FAILED", `the interface ${name} is there and ${what}: left alone`, { hint })
}

function hold(fd: number, { name, alias }: Link): void {
  const deadline = performance.now() + RELEASE_WAIT_MS
  for (;;) {
    try {
      holdTap(fd, name)
      return
    } catch (error) {
      if (errorCode(error) !== "EBUSY") throw explained(error, `the tap ${name} cannot be removed`)
      const { pids, unreadable } = tapHolders(name)
      if (pids.length === 0 && performance.now() < deadline) Bun.sleepSync(20)
      else throw held(name, alias, pids, unreadable, error)
    }
  }
}

function held(
  name: string,
  alias: string | undefined,
  pids: readonly number[],
  unreadable: number,
  cause: unknown,
): Failure {
  const vm = parseAlias(alias)?.vm
  const of = vm === undefined ? "" : ` of the VM ${vm}`
  if (pids.length > 0) {
    const hint = vm === undefined ? "end that process first" : `end the VM first: banger rm -f ${vm}`
    return new Failure("FAILED", `the tap ${name}${of} is held by process ${pids.join(", ")}`, { hint, cause })
  }
  const why = unreadable > 0 ? `${unreadable} processes do not let their descriptors be seen` : messageOf(cause)
  return new Failure("FAILED", `the tap ${name}${of} is held by a process that cannot be found: ${why}`, { cause })
}
