import { expect, test } from "bun:test"
import { anyOf, FLOW_STATUS, parseFlow } from "../../../src/base/linux/conntrack.ts"
import { bytesOf, parseAddress, parseSubnet, type Subnet } from "../../../src/base/terms/address.ts"
import { type Port, parsePort } from "../../../src/base/terms/ports.ts"
import { missesPort } from "../../../src/host/firewall/flows.ts"

const bytes = (text: string) => bytesOf(parseAddress(text) ?? 0)
const port = (text: string) => parsePort(text) as Port
const subnet = parseSubnet("10.213.0.0/16") as Subnet
const HERE = ["192.0.2.1", "127.0.0.1"]
const vm = { subnet, number: 7, isLocal: (address: number) => HERE.some((one) => parseAddress(one) === address) }

/** A flow from a client to an address and port, and whom its answers come from. */
function flow(to: string, from: string, { protocol = 17, destinationPort = 5353, status = 0 } = {}) {
  const client = bytes("198.51.100.9")
  return {
    original: { source: client, destination: bytes(to), protocol, destinationPort },
    reply: { source: bytes(from), destination: client, protocol, destinationPort: 40_000 },
    status,
  }
}
const { ASSURED, DST_NAT } = FLOW_STATUS
const TCP = { protocol: 6 }

test.each<[string, ReturnType<typeof flow>, string, boolean]>([
  ["to the host itself, from before the VM", flow("192.0.2.1", "192.0.2.1"), "5353:53/udp", true],
  ["to 127.0.0.1", flow("127.0.0.1", "127.0.0.1"), "5353:53/udp", true],
  ["to the address that the port is of", flow("192.0.2.1", "192.0.2.1"), "192.0.2.1:5353:53/udp", true],
  ["to another address than the port is of", flow("127.0.0.1", "127.0.0.1"), "192.0.2.1:5353:53/udp", false],
  ["to the VM that had the port", flow("192.0.2.1", "10.213.0.2", { status: DST_NAT }), "5353:53/udp", true],
  ["to the VM that has it", flow("192.0.2.1", "10.213.0.7", { status: DST_NAT }), "5353:53/udp", false],
  ["that another program forwards", flow("192.0.2.1", "172.17.0.2", { status: DST_NAT }), "5353:53/udp", false],
  ["through this host to another's port", flow("203.0.113.5", "203.0.113.5"), "5353:53/udp", false],
  ["of the other protocol", flow("192.0.2.1", "192.0.2.1", TCP), "5353:53/udp", false],
  ["to another port", flow("192.0.2.1", "192.0.2.1", { destinationPort: 5354 }), "5353:53/udp", false],
  ["of TCP that nobody has answered", flow("192.0.2.1", "192.0.2.1", TCP), "5353:53", true],
  ["of TCP that the host has", flow("192.0.2.1", "192.0.2.1", { ...TCP, status: ASSURED }), "5353:53", false],
  [
    "of TCP that the VM before had",
    flow("192.0.2.1", "10.213.0.2", { ...TCP, status: ASSURED | DST_NAT }),
    "5353:53",
    true,
  ],
])("a flow %s: forgotten when a VM gets the port %#", (_, one, of, forgotten) =>
  expect(missesPort(one, port(of), vm)).toBe(forgotten),
)

test("a flow passes by either end of either direction, or by the port it was sent to", () => {
  const one = flow("192.0.2.1", "10.213.0.2")
  const at = (direction: "original" | "reply", end: "source" | "destination", address: string) =>
    anyOf([{ direction, end, address: bytes(address) }])(one)
  expect(at("original", "source", "198.51.100.9")).toBe(true)
  expect(at("reply", "source", "10.213.0.2")).toBe(true)
  expect(at("original", "destination", "10.213.0.2")).toBe(false)
  const udp = { protocol: 17, destinationPort: 5353 } as const
  const tcp = { protocol: 6, destinationPort: 5353 } as const
  expect([[udp], [tcp], [tcp, udp], []].map((some) => anyOf(some)(one))).toEqual([true, false, true, false])
})

test("what is no flow is passed over", () => {
  expect(parseFlow({ body: new Uint8Array(4) })).toBeUndefined()
  expect(() => parseFlow({ body: Uint8Array.of(2, 0, 0, 0, 255, 0, 1, 0) })).toThrow("netlink attribute of 255 bytes")
})
