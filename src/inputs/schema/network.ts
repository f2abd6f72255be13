import * as v from "valibot"
import { CARD, guestNumbers, parseAddress, parseSubnet, type Subnet } from "../../base/terms/address.ts"
import { clash, PORT_WORDS, type Port, parsePort } from "../../base/terms/ports.ts"
import { SETTINGS } from "./firecracker.ts"

/** The bridge of a network that does not name one. */
export const DEFAULT_BRIDGE = "bgr0"

/** The default subnet of a bridge: `10.213.0.0/16` for `bgr0`, the next for `bgr1`, and so on up to 10.254. */
export function defaultSubnet(bridge: string): string {
  const number = /^bgr(\d+)$/.exec(bridge)?.[1] ?? Buffer.from(bridge).reduce((sum, byte) => sum * 31 + byte, 7)
  return `10.${213 + (Number(number) % 42)}.0.0/16`
}

const BRIDGE_WORDS =
  'a name for a bridge of banger\'s own: "bgr0" to "bgr9999", or "bgr-" and at most 11 of a-z, 0-9 and -'
const SUBNET_WORDS =
  'an IPv4 subnet from /8 to /30 that hosts can have, without host bits: "10.213.0.0/16", "192.168.7.0/24"'
const ADDRESS_WORDS = 'an IPv4 address: "10.213.0.7"'
const ADDRESS_OF_GUEST = "an address of the subnet that guests can have: not its first two, nor its last"
const MAC_WORDS = 'a MAC address of one interface, not of a group: "02:00:5e:10:00:01"'
const PORTS_WORDS = "a list of ports"
const flag = v.boolean("true or false")

const ipv4 = v.pipe(
  v.string(ADDRESS_WORDS),
  v.check((text) => parseAddress(text) !== undefined, ADDRESS_WORDS),
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
  [],
)

/** What a network can be told. */
export const networkEntries = {
  mode: v.optional(v.picklist(["tap", "user"], '"tap" or "user"'), "tap"),
  bridge: v.optional(
    v.pipe(v.string(BRIDGE_WORDS), v.regex(/^bgr(?:\d{1,4}|-[a-z0-9-]{1,11})$/, BRIDGE_WORDS)),
    DEFAULT_BRIDGE,
  ),
  subnet: v.optional(
    v.pipe(
      v.string(SUBNET_WORDS),
      v.check((text) => isForHosts(parseSubnet(text)), SUBNET_WORDS),
    ),
  ),
  address: v.optional(ipv4),
  mac: v.optional(mac),
  ports,
  nat: v.optional(flag, true),
  isolate: v.optional(flag, true),
  forward: v.optional(flag, false),
  ipv6: v.optional(flag, false),
  netns: v.optional(flag, false),
  dns: v.optional(v.pipe(v.array(ipv4, "a list of IPv4 addresses"), v.maxLength(2, "at most two name servers"))),
}

const ONLY_TAP = ["bridge", "subnet", "address", "nat", "isolate", "forward", "ipv6", "netns", "dns"]
const SIMPLE_WORDS = 'true, false, "user" or { bridge, subnet, ports, … }'

const object = v.pipe(
  v.strictObject(networkEntries, SIMPLE_WORDS),
  v.transform(({ subnet, ...rest }) => ({ ...rest, subnet: subnet ?? defaultSubnet(rest.bridge) })),
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
    ...cardEntries,
    ...SETTINGS.network.entries,
  }),
  v.check(
    ({ subnet, bridge, address }) => address === undefined || isOfGuest(subnet ?? defaultSubnet(bridge), address),
    ADDRESS_OF_GUEST,
  ),
  v.transform(({ id, subnet, rx_rate_limiter, tx_rate_limiter, mtu, ...rest }) => ({
    id,
    settings: { rx_rate_limiter, tx_rate_limiter, mtu },
    network: {
      ...{ mode: "tap" as const, netns: false, dns: undefined, ...rest },
      subnet: subnet ?? defaultSubnet(rest.bridge),
    } satisfies NetworkSpec,
  })),
)
export type CardSpec = v.InferOutput<typeof cardSpec>

/** Whether a guest can have an address of a subnet: not its first two, nor its last. True for what is no subnet. */
export function isOfGuest(subnet: string, address: string): boolean {
  const parsed = parseSubnet(subnet)
  if (parsed === undefined) return true
  const number = (parseAddress(address) ?? 0) - parsed.base
  const { first, last } = guestNumbers(parsed)
  return number >= first && number <= last
}

// --- internal ---

function isObject(input: unknown): boolean {
  return typeof input === "object" && input !== null && !Array.isArray(input)
}

/** Not this host itself, not link-local, no multicast. */
function isForHosts(subnet: Subnet | undefined): boolean {
  if (subnet === undefined || subnet.prefix < 8 || subnet.prefix > 30) return false
  const [first, second] = [subnet.base >>> 24, (subnet.base >>> 16) & 255]
  return first !== 0 && first !== 127 && first < 224 && !(first === 169 && second === 254)
}
