import { filtersVlans } from "../../base/linux/bridges.ts"
import { findLink } from "../../base/linux/links.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { nftProgram } from "../network/nft.ts"

// The room bridge: a bridge of the user's, the taps of VMs on it, and their rules.
// The rule: of the bridge nothing is changed, and of its ports none but a tap that bears banger's mark and this owner's name.

/** A bridge that is not banger's, as it was found. */
export interface UsersBridge {
  readonly name: string
  readonly index: number
  readonly mac: string
  /** In bytes. */
  readonly mtu: number
}

/** What a card asks of a bridge. */
export interface BridgeWish {
  readonly bridge: string
  /** The VLAN that the card is to be in; undefined: what the bridge gives its ports. */
  readonly vlan?: number | undefined
}

/**
 * The user's bridge of this name in this network namespace. Throws a failure when there is none, it is no bridge of Linux, it is
 * down, or it is asked for a VLAN and does not filter.
 */
export function requireUsersBridge(route: Route, { bridge: name, vlan }: BridgeWish): UsersBridge {
  const link = findLink(route, name)
  // Its name may have what a shell does not take as it stands.
  const word = shellWords([name])
  if (link === undefined) {
    const hint = `make it (ip link add ${word} type bridge && ip link set ${word} up), or take one that banger makes: ${OWN}`
    throw refused("HOST_LACKS", `there is no interface ${name} in this network namespace`, hint)
  }
  const { index, kind, mac, mtu, up } = link
  // The kernel finds an interface by its other names too (ip link property).
  if (link.name !== name)
    throw refused(
      "UNSUPPORTED",
      `${name} is another name of ${link.name}`,
      `name it so: network: { bridge: ${JSON.stringify(link.name)} }`,
    )
  if (kind === "openvswitch") {
    const hint = `banger puts taps on bridges of Linux: give one, or take one that banger makes: ${OWN}`
    throw refused("UNSUPPORTED", `${name} is a bridge of Open vSwitch, which is not one of Linux`, hint)
  }
  if (kind !== "bridge") {
    const hint = `give the bridge that it is a port of (ip -d link show ${word}), or take one that banger makes: ${OWN}`
    throw refused("UNSUPPORTED", `${name} is not a bridge (${kind ?? "a device"})`, hint)
  }
  if (!up)
    throw refused("HOST_LACKS", `the bridge ${name} is down, and banger does not change it`, `ip link set ${word} up`)
  if (vlan !== undefined && !filtersVlans(route, link)) {
    const hint = `leave network.vlan out; or let it filter, which concerns all of its ports: ip link set ${word} type bridge vlan_filtering 1`
    throw new Failure("HOST_LACKS", `network.vlan: the bridge ${name} does not filter VLANs`, {
      hint,
      subject: "network.vlan",
    })
  }
  return { name, index, mac, mtu }
}

/** As `requireUsersBridge`, and throws a failure where the rules that every tap there has cannot be made. */
export function requireBridgeAndRules(route: Route, wish: BridgeWish): UsersBridge {
  nftProgram(`Or a bridge of banger's own without rules: ${OWN.replace(" }", ", nat: false, isolate: false }")}`)
  return requireUsersBridge(route, wish)
}

// --- internal ---

const OWN = 'network: { bridge: "bgr0" }'

function refused(code: "HOST_LACKS" | "UNSUPPORTED", words: string, hint: string): Failure {
  return new Failure(code, `network.bridge: ${words}`, { hint, subject: "network.bridge" })
}
