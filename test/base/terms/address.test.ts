import { expect, test } from "bun:test"
import {
  bytesOf,
  formatAddress,
  formatIpv6,
  formatSubnet,
  guestNumbers,
  ipv6Bytes,
  netmaskOf,
  overlap,
  parseAddress,
  parseSubnet,
  type Subnet,
} from "../../../src/base/terms/address.ts"
import { clash, formatPort, type Port, parsePort } from "../../../src/base/terms/ports.ts"

const subnet = (text: string): Subnet => parseSubnet(text) ?? { base: Number.NaN, prefix: 0 }

test.each(["0.0.0.0", "10.213.0.1", "255.255.255.255"])("%s is an address, and is written as it was read", (text) => {
  expect(formatAddress(parseAddress(text) ?? -1)).toBe(text)
})

test.each(["", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4 ", "1.2.3.-4", "0x1.2.3.4", "١.2.3.4", "::1"])(
  "%p is no address",
  (text) => expect(parseAddress(text)).toBeUndefined(),
)

test.each(["10.0.0.0/8", "192.168.7.0/24", "10.9.0.4/30", "0.0.0.0/0", "1.2.3.4/32"])("%s is a subnet", (text) => {
  expect(formatSubnet(subnet(text))).toBe(text)
})

test.each(["10.0.0.1/8", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8"])(
  "%p is no subnet",
  (text) => expect(parseSubnet(text)).toBeUndefined(),
)

test.each([
  ["10.0.0.0/8", "10.213.0.0/16", true],
  ["10.213.0.0/16", "10.0.0.0/8", true],
  ["10.213.0.0/16", "10.214.0.0/16", false],
  ["10.0.0.0/24", "10.0.0.128/25", true],
  ["0.0.0.0/0", "255.0.0.0/8", true],
  ["127.0.0.0/8", "128.0.0.0/8", false],
])("%s and %s overlap: %p", (a, b, expected) => expect(overlap(subnet(a), subnet(b))).toBe(expected))

test("a subnet's mask, and the addresses that guests can have", () => {
  expect(netmaskOf(16)).toBe("255.255.0.0")
  expect(netmaskOf(30)).toBe("255.255.255.252")
  expect(netmaskOf(0)).toBe("0.0.0.0")
  expect(guestNumbers(subnet("10.0.0.0/30"))).toEqual({ first: 2, last: 2 })
  expect(guestNumbers(subnet("10.0.0.0/24"))).toEqual({ first: 2, last: 254 })
  expect([...bytesOf(0xff00_0001)]).toEqual([255, 0, 0, 1])
})

test.each([
  [Uint8Array.of(0xfd, 1, 2, 3, 4, 5, 0, 1), 2, "fd01:203:405:1::2"],
  [Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 1), 0x0001_0002, "fd00::1:0:0:1:2"],
  [new Uint8Array(8), 1, "::1"],
  [new Uint8Array(8), 0, "::"],
])("an IPv6 address is written as RFC 5952 says", (network, host, text) => {
  expect(formatIpv6(ipv6Bytes(network, host))).toBe(text)
})

test.each([
  ["8080:80", { protocol: "tcp", address: undefined, host: 8080, guest: 80 }, "8080:80/tcp"],
  ["53:5353/udp", { protocol: "udp", address: undefined, host: 53, guest: 5353 }, "53:5353/udp"],
  ["127.0.0.1:2222:22", { protocol: "tcp", address: "127.0.0.1", host: 2222, guest: 22 }, "127.0.0.1:2222:22/tcp"],
  ["0.0.0.0:65535:1", { protocol: "tcp", address: undefined, host: 65535, guest: 1 }, "65535:1/tcp"],
] as const)("%s is a port", (text, port, written) => {
  expect(parsePort(text)).toEqual(port as Port)
  expect(formatPort(port as Port)).toBe(written)
})

test.each([
  "",
  "80",
  "0:80",
  "80:0",
  "65536:1",
  "080:80",
  "80:80/sctp",
  "80:80/",
  "localhost:80:80",
  "::1:80:80",
  "-1:80",
  "80:80:80",
  "1.2.3:80:80",
  "80 : 80",
])("%p is no port", (text) => expect(parsePort(text)).toBeUndefined())

test.each([
  ["80:1", "80:2", true],
  ["127.0.0.1:80:1", "80:2", true],
  ["127.0.0.1:80:1", "127.0.0.2:80:1", false],
  ["80:1", "80:1/udp", false],
  ["80:1", "81:1", false],
])("%s and %s clash: %p", (a, b, expected) => {
  expect(clash(parsePort(a) as Port, parsePort(b) as Port)).toBe(expected)
})
