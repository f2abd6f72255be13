import { expect, test } from "bun:test"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"
import type { ResolvedPlugin } from "../../../src/inputs/plugin/resolved.ts"
import { withGuestNetwork } from "../../../src/supervisor/snapshot/guestNetwork.ts"
import { failure } from "../../failure.ts"

const saved = { address: "10.213.0.9", mac: "02:00:00:00:00:09" }
const snapshot = { dir: "/saved", id: "i", network: saved }
const plugin = (network: unknown) => {
  const written = { kernel: "k", name: "n", network }
  return { spec: parseSpec(written, { path: "/p", text: "" }), written } as unknown as ResolvedPlugin
}

test("a restored VM has the address and the MAC of the snapshot's guest, and what else its plugin says", () => {
  const given = withGuestNetwork(plugin({ ports: ["80:80"] }), snapshot)
  expect(given.spec.network).toMatchObject({ ...saved, ports: [{ host: 80, guest: 80 }] })
  expect(given.written.network).toEqual({ ports: ["80:80"], ...saved })
  expect(withGuestNetwork(plugin(true), snapshot).written.network).toEqual(saved)
})

test("what the plugin says of them comes first", () => {
  expect(withGuestNetwork(plugin({ address: "10.213.0.7" }), snapshot).spec.network).toMatchObject({
    ...{ address: "10.213.0.7", mac: saved.mac },
  })
  const mac = "02:00:00:00:00:01"
  expect(withGuestNetwork(plugin({ mac }), snapshot).spec.network).toMatchObject({ address: saved.address, mac })
})

test("on a bridge of the user's a guest keeps its MAC; it is bound to an address by the plugin alone", () => {
  const bare = { ...snapshot, network: { mac: saved.mac } }
  const given = withGuestNetwork(plugin({ bridge: "br0" }), bare)
  expect(given.spec.network).toMatchObject({ bridge: "br0", address: undefined, mac: saved.mac })
  expect(given.written.network).toEqual({ bridge: "br0", mac: saved.mac })
  expect(withGuestNetwork(plugin({ bridge: "br0" }), snapshot).written.network).toEqual({
    bridge: "br0",
    mac: saved.mac,
  })
  const bound = { bridge: "br0", address: "192.0.2.7" }
  expect(withGuestNetwork(plugin(bound), bare).written.network).toEqual({ ...bound, mac: saved.mac })
  expect(() => withGuestNetwork(plugin(true), bare)).toThrow(
    failure("BAD_PLUGIN", "network.bridge: the guest of /saved had its address from others, not on bgr0"),
  )
})

test("a network that the guest cannot have is refused by name", () => {
  for (const [network, has, words] of [
    [false, saved, "network: the guest of /saved has a network card, with 10.213.0.9"],
    [true, null, "network: the guest of /saved has no network card"],
    [{ bridge: "bgr1" }, saved, "network.subnet: the guest of /saved has 10.213.0.9, which is not in 10.214.0.0/16"],
  ] as const)
    expect(() => withGuestNetwork(plugin(network), { ...snapshot, network: has })).toThrow(failure("BAD_PLUGIN", words))
  for (const [network, has] of [
    [false, null],
    [true, undefined],
    ["user", saved],
  ] as const) {
    const same = plugin(network)
    expect(withGuestNetwork(same, { ...snapshot, network: has })).toBe(same)
  }
})
