import { basename, dirname } from "node:path"
import { isolatePort } from "../../base/linux/bridges.ts"
import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { close, openAt, openBeneath, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { addBridge, addVeth, changeLink, deleteLink, findLink } from "../../base/linux/links.ts"
import { attachTree, cloneTree, UMOUNT, unmountAt } from "../../base/linux/mounts.ts"
import { inNetworkNamespace, newNetworkNamespace } from "../../base/linux/namespaces.ts"
import { type Route, withRoute } from "../../base/linux/rtnetlink.ts"
import { Failure } from "../../base/terms/failure.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"
import { bridgeMac, formatAlias, MARK, parseAlias, portGroup } from "./names.ts"
import { explained, stillThere, wentAway } from "./refusals.ts"
import { hardenInterface } from "./sysctl.ts"
import { findOwnLink, makeTap, type TapOwner, type TapPlan } from "./tap.ts"

/** Names inside a VM's namespace, which it has to itself. */
const INNER = { bridge: "br0", uplink: "up0" } as const

/**
 * Makes a network namespace with a tap in it, and a pair of veths that connects the tap to the host's bridge: `tap.name` is
 * the name of the tap inside and of the veth outside. A mount on `file`, which must not be there yet, keeps the namespace.
 * The caller holds the network's lock; `closeNamespace` undoes whatever was done.
 */
export function openNamespace(route: Route, file: string, tap: TapPlan): void {
  try {
    withDescriptor(newNetworkNamespace(), (inner) => {
      keepNamespace(inner, file)
      addVeth(route, tap.name, { group: MARK, peer: INNER.uplink, peerNs: inner })
      const outside = findLink(route, tap.name)
      if (outside === undefined) throw wentAway(`the interface ${tap.name}`)
      hardenInterface(tap.name, false)
      const alias = formatAlias({ kind: "veth", vm: tap.vm, owner: tap.owner })
      changeLink(route, outside.index, tap.name, {
        ...{ alias, group: portGroup(tap.owner, "own"), mtu: tap.mtu },
        ...{ master: tap.bridge, up: true },
      })
      if (tap.isolated) isolatePort(route, { index: outside.index, name: tap.name }, true)
      inNetworkNamespace(inner, () => withRoute((within) => joinInside(within, tap)))
    })
  } catch (error) {
    throw explained(error, `the network namespace of ${tap.vm} cannot be made`)
  }
}

/** Removes the veth of a VM and the mount that keeps its namespace, which ends with its last process. What is gone is fine. */
export function closeNamespace(
  route: Route,
  file: string | undefined,
  leased: string,
  { owner, vm, others }: TapOwner,
): void {
  const byMark = vm !== undefined && others !== undefined
  const link = byMark ? findOwnLink(route, leased, { owner, vm, others }) : findLink(route, leased)
  if (link !== undefined) {
    const { name } = link
    const alias = parseAlias(link.alias)
    const half = link.alias === undefined && link.group === MARK
    const own = alias?.kind === "veth" && alias.owner === owner && (vm ?? alias.vm) === alias.vm
    if (link.kind !== "veth" || (!half && !own)) {
      const hint = `if nothing needs it: ip link delete ${name}`
      throw new Failure("CHANGED", `the interface ${name} is not this VM's: left alone`, { hint, subject: name })
    }
    deleteLink(route, link.index, name)
    if (findLink(route, name)?.index === link.index) throw stillThere(`the interface ${name}`, name)
  }
  if (file !== undefined) forgetNamespace(file)
}

// --- internal ---

function joinInside(route: Route, tap: TapPlan): void {
  addBridge(route, INNER.bridge, { mac: bridgeMac(tap.owner, tap.vm), group: MARK })
  const [bridge, uplink] = [INNER.bridge, INNER.uplink].map((name) => findLink(route, name))
  if (bridge === undefined || uplink === undefined)
    throw wentAway(`an interface of the new network namespace (${INNER.bridge}, ${INNER.uplink})`)
  for (const { name } of [bridge, uplink]) hardenInterface(name, false)
  changeLink(route, uplink.index, uplink.name, { mtu: tap.mtu, master: bridge.index, up: true })
  changeLink(route, bridge.index, bridge.name, { mtu: tap.mtu, up: true })
  makeTap(route, { ...tap, bridge: bridge.index, isolated: false })
}

function keepNamespace(namespace: number, file: string): void {
  withDescriptor(pinDirectory(dirname(file)), (dir) => {
    close(openAt(dir, basename(file), O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o600))
    withDescriptor(openBeneath(dir, basename(file), O.PATH | O_NOFOLLOW), (target) => {
      withDescriptor(cloneTree(namespace), (tree) => attachTree(tree, target))
    })
  })
}

function forgetNamespace(file: string): void {
  const dir = unlessAbsent(() => openAt(AT_FDCWD, dirname(file), O.RDONLY | O_NOFOLLOW))
  // A reboot has removed the VM's runtime directory, or it was never made.
  if (dir === undefined) return
  withDescriptor(dir, () => {
    ignoring(["EINVAL", "ENOENT"], () => unmountAt(dir, basename(file), UMOUNT.DETACH))
    ignoring(["ENOENT"], () => unlinkAt(dir, basename(file)))
  })
}
