import * as v from "valibot"
import { CARD, guestNumbers, parseAddress, parseSubnet, type Subnet } from "../../base/terms/address.ts"
import { clash, PORT_WORDS, type Port, parsePort } from "../../base/terms/ports.ts"
import { SETTINGS } from "./firecracker.ts"

/** The bridge of a network that does not name one. */
export const DEFAULT_BRIDGE = "bgr0"

/** Whether this is the name of a bridge that banger makes; any other is a bridge of the user's. Pure. */
export function isOwnBridge(name: string): boolean {
  return /^bgr(?:\d{1,4}|-[a-z0-9-]{1,11})$/.test(name)
}

/** What Linux lets an interface be called; not %, which stands for a number, nor what cannot be printed. */
const INTERFACE_NAME = /^(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}$/

/** Whether a bridge can be called so, banger's own or the user's. Pure. */
export function isBridgeName(name: string): boolean {
  return INTERFACE_NAME.test(name)
}

/** The default subnet of a bridge: `10.213.0.0/16` for `bgr0`, the next for `bgr1`, and so on up to 10.254. */
export function defaultSubnet(bridge: string): string {
  const number = /^bgr(\d+)$/.exec(bridge)?.[1] ?? Buffer.from(bridge).reduce((sum, byte) => sum * 31 + byte, 7)
  return `10.${213 + (Number(number) % 42)}.0.0/16`
}

const BRIDGE_WORDS =
  'a name for a bridge of banger\'s own ("bgr0" to "bgr9999", or "bgr-" and at most 11 of a-z, 0-9 and -), or the name of a bridge of yours'
const MTU_WORDS = "what a frame may carry, in bytes: a whole number from 68 to 65535"
const MTU_OF_IPV6 = "1280 or more with ipv6: true, which needs that much; or leave ipv6 out"
const VLAN_WORDS = "the number of a VLAN: a whole number from 1 to 4094"
const SUBNET_WORDS =
  'an IPv4 subnet from /8 to /30 that hosts can have, without host bits: "10.213.0.0/16", "192.168.7.0/24"'
const ADDRESS_WORDS = 'an IPv4 address: "10.213.0.7"'
const ADDRESS_OF_GUEST = "an address of the subnet that guests can have: not its first two, nor its last"
const ADDRESS_OF_HOST = "an IPv4 address that a host can have"
const NAME_SERVER_WORDS = "an IPv4 address that a guest can send to: not 127.0.0.0/8, which is the guest itself there"
const MAC_WORDS = 'a MAC address of one interface, not of a group: "02:00:5e:10:00:01"'
const PORTS_WORDS = "a list of ports"
const flag = v.optional(v.boolean("true or false"))

const ipv4 = v.pipe(
  v.string(ADDRESS_WORDS),
  v.check((text) => parseAddress(text) !== undefined, ADDRESS_WORDS),
)
const nameServer = v.pipe(
  ipv4,
  v.check((text) => isReachable(parseAddress(text) ?? 0), NAME_SERVER_WORDS),
)
const mac = v.pipe(
  v.string(MAC_WORDS),
  v.check(
    (text) => /^[0-9a-f][02468ace](?::[0-9a-f]{2}){5}$/i.test(text) && !/^0+$/.test(text.replaceAll(":", "")),
    MAC_WORDS,
  ),
  v.toLowerCase(),
)
const port = v.pipe(
  v.string(PORT_WORDS),
  v.check((text) => parsePort(text) !== undefined, PORT_WORDS),
  v.transform((text) => parsePort(text) as Port),
)
const ports = v.optional(
  v.pipe(
    v.array(port, PORTS_WORDS),
    v.maxLength(1024, "at most 1024 ports"),
    v.check((all) => !all.some((a, at) => all.slice(at + 1).some((b) => clash(a, b))), "each port of the host once"),
  ),
)

/** What a network can be told. */
export const networkEntries = {
  mode: v.optional(v.picklist(["tap", "user"], '"tap" or "user"'), "tap"),
  bridge: v.optional(v.pipe(v.string(BRIDGE_WORDS), v.check(isBridgeName, BRIDGE_WORDS)), DEFAULT_BRIDGE),
  subnet: v.optional(
    v.pipe(
      v.string(SUBNET_WORDS),
      v.check((text) => isForHosts(parseSubnet(text)), SUBNET_WORDS),
    ),
  ),
  address: v.optional(ipv4),
  mac: v.optional(mac),
  ports,
  vlan: v.optional(
    v.pipe(v.number(VLAN_WORDS), v.integer(VLAN_WORDS), v.minValue(1, VLAN_WORDS), v.maxValue(4094, VLAN_WORDS)),
  ),
  mtu: v.optional(
    v.pipe(v.number(MTU_WORDS), v.integer(MTU_WORDS), v.minValue(68, MTU_WORDS), v.maxValue(65_535, MTU_WORDS)),
  ),
  nat: flag,
  isolate: flag,
  forward: flag,
  ipv6: flag,
  netns: flag,
  dns: v.optional(v.pipe(v.array(nameServer, "a list of IPv4 addresses"), v.maxLength(2, "at most two name servers"))),
}

const ONLY_TAP = ["bridge", "subnet", "address", "vlan", "mtu", "nat", "isolate", "forward", "ipv6", "netns", "dns"]
const SIMPLE_WORDS = 'true, false, "user" or { bridge, subnet, ports, … }'

const object = v.pipe(
  v.strictObject(networkEntries, SIMPLE_WORDS),
  v.rawCheck(({ dataset, addIssue }) => {
    if (dataset.typed) for (const issue of unfitting(dataset.value)) addIssue(issue)
  }),
  v.transform(({ mode, netns = false, dns, ...rest }) => ({ mode, netns, dns, ...complete(rest) })),
  v.check((network) => isBindable(network), ADDRESS_OF_HOST),
  v.check(({ subnet, address }) => address === undefined || isOfGuest(subnet, address), ADDRESS_OF_GUEST),
)

const simple = v.pipe(
  v.union([v.boolean(), v.literal("user")], SIMPLE_WORDS),
  v.transform((word) => (word === false ? false : v.parse(object, word === true ? {} : { mode: word }))),
)

const written = v.pipe(
  v.looseObject({}),
  v.check(
    (input) => {
      const extra = ONLY_TAP.filter((key) => (input as Readonly<Record<string, unknown>>)[key] !== undefined)
      return (input as { mode?: unknown }).mode !== "user" || extra.length === 0
    },
    `with mode "user" only mac and ports: ${ONLY_TAP.join(", ")} are a tap's`,
  ),
  object,
)

/** A VM's network. Input is what plugin files write; output is `false` or all of its settings. */
export const networkSpec: v.GenericSchema<boolean | "user" | v.InferInput<typeof object>, false | NetworkSpec> = v.lazy(
  (input) => (isObject(input) ? written : simple) as typeof simple,
)

/** A network's settings, complete. */
export type NetworkSpec = v.InferOutput<typeof object>

const { mode: _mode, netns: _netns, dns: _dns, ...cardEntries } = networkEntries
const CARD_ID_WORDS = `a-z, 0-9 and _, at most 20 long; not ${CARD}, which is the plugin's own`

/** A network card that comes to a guest while that runs: what a tap can be told, and what Firecracker can be told of a card. */
export const cardSpec = v.pipe(
  v.strictObject({
    id: v.pipe(
      v.string(CARD_ID_WORDS),
      v.regex(/^[a-z0-9_]{1,20}$/, CARD_ID_WORDS),
      v.check((id) => id !== CARD, CARD_ID_WORDS),
    ),
    ...SETTINGS.network.entries,
    ...cardEntries,
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (dataset.typed) for (const issue of unfitting(dataset.value)) addIssue(issue)
  }),
  v.transform(({ id, rx_rate_limiter, tx_rate_limiter, ...rest }) => ({
    id,
    settings: { rx_rate_limiter, tx_rate_limiter },
    network: { mode: "tap" as const, netns: false, dns: undefined, ...complete(rest) } satisfies NetworkSpec,
  })),
  v.check(({ network }) => isBindable(network), ADDRESS_OF_HOST),
  v.check(({ network: { subnet, address } }) => address === undefined || isOfGuest(subnet, address), ADDRESS_OF_GUEST),
)
export type CardSpec = v.InferOutput<typeof cardSpec>

/**
 * Whether a guest can have an address of a subnet: not its first two, nor its last. True for what is no subnet, or not known
 * (undefined).
 */
export function isOfGuest(subnet: string | undefined, address: string): boolean {
  const parsed = subnet === undefined ? undefined : parseSubnet(subnet)
  if (parsed === undefined) return true
  const number = (parseAddress(address) ?? 0) - parsed.base
  const { first, last } = guestNumbers(parsed)
  return number >= first && number <= last
}

// --- internal ---

/** Of a card that is to be on a bridge: what was written. */
interface Written {
  readonly bridge: string
  readonly subnet?: string | undefined
  readonly address?: string | undefined
  readonly mac?: string | undefined
  readonly vlan?: number | undefined
  readonly mtu?: number | undefined
  readonly ports?: Port[] | undefined
  readonly nat?: boolean | undefined
  readonly isolate?: boolean | undefined
  readonly forward?: boolean | undefined
  readonly ipv6?: boolean | undefined
}

/** With every default; a bridge of the user's has no subnet that is known. */
function complete({ bridge, subnet, address, mac, vlan, mtu, ports = [], nat, isolate, forward, ipv6 }: Written) {
  const own = isOwnBridge(bridge)
  return {
    ...{ bridge, subnet: own ? (subnet ?? defaultSubnet(bridge)) : undefined, address, mac, vlan, mtu, ports },
    ...{ nat: nat ?? own, isolate: isolate ?? own, forward: forward ?? false, ipv6: ipv6 ?? false },
  }
}

/** What banger's own network has and a bridge of the user's cannot give, each with what to do instead. */
const NOT_OF_YOURS: Readonly<Record<string, string>> = {
  subnet: "it has your network's: leave subnet out",
  nat: "your router's affair: leave nat out",
  ports: "others reach the guest at its own address: leave ports out",
  forward: "the bridge carries the frames, this host forwards nothing: leave forward out",
  ipv6: "the guest has what your network gives it: leave ipv6 out",
  netns: "that is for bridges of banger's own: leave netns out",
  dns: "your DHCP server's affair: leave dns out, or tell the guest by bootArgs",
}

/** An issue for each setting that the kind of bridge cannot give. */
function unfitting(written: Written & { readonly mode?: "tap" | "user" }) {
  const { bridge, mode } = written
  if (mode === "user") return []
  const given = Object.entries(written).filter(([, value]) => value !== undefined)
  const issue = (key: string, value: unknown, message: string): { message: string; path: [v.ObjectPathItem] } => ({
    message,
    path: [{ type: "object", origin: "value", input: { ...written }, key, value }],
  })
  const tooSmall = written.ipv6 === true && written.mtu !== undefined && written.mtu < 1280
  if (tooSmall) return [issue("mtu", written.mtu, MTU_OF_IPV6)]
  if (isOwnBridge(bridge))
    return given
      .filter(([key]) => key === "vlan")
      .map(([key, value]) =>
        issue(key, value, `no vlan on ${bridge}, which is banger's own: name a bridge of yours that filters VLANs`),
      )
  return given.flatMap(([key, value]) => {
    const why = NOT_OF_YOURS[key]
    return why === undefined ? [] : [issue(key, value, `no ${key} on ${bridge}, which is a bridge of yours: ${why}`)]
  })
}

function isObject(input: unknown): boolean {
  return typeof input === "object" && input !== null && !Array.isArray(input)
}

/** Whether a guest may be bound to its address: on a bridge of the user's any that a host can have. */
function isBindable({
  subnet,
  address,
}: {
  readonly subnet: string | undefined
  readonly address: string | undefined
}): boolean {
  return subnet !== undefined || address === undefined || isForHosts({ base: parseAddress(address) ?? 0, prefix: 30 })
}

/** Not the sender itself, no group. */
function isReachable(address: number): boolean {
  const first = address >>> 24
  return first !== 0 && first !== 127 && first < 224
}

/** Not this host itself, not link-local, no multicast. */
function isForHosts(subnet: Subnet | undefined): boolean {
  if (subnet === undefined || subnet.prefix < 8 || subnet.prefix > 30) return false
  const [first, second] = [subnet.base >>> 24, (subnet.base >>> 16) & 255]
  return first !== 0 && first !== 127 && first < 224 && !(first === 169 && second === 254)
}
