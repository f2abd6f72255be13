import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { join } from "node:path"
import { type Running, startGuest } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"
import { sql } from "./support/vms.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, setting } from "./support/wire.ts"

// This host's way out is `router`, by a cable that carries 1400 bytes; beyond it is `far`, by one that carries 1500. The router keeps
// "fragmentation needed" for itself, as many do.
const FAR = "198.51.100.2"
const FAR6 = "fd00:51::2"
const SIZE_BYTES = 300_000

let router: Outside
let far: Outside
beforeAll(async () => {
  router = await makeOutside()
  far = await makeOutside({ link: "far0", here: undefined, there: `${FAR}/24` })
  const holder = router.start("sleep", "1000")
  must("ip", "link", "set", "far0", "netns", String(holder.pid))
  const there = (machine: Outside, ...words: readonly string[]) =>
    expect(machine.run(...words), words.join(" ")).toMatchObject({ exit: 0 })
  for (const [machine, words] of [
    [router, "address add 198.51.100.1/24 dev far0"],
    [router, "address add fd00:51::1/64 dev far0 nodad"],
    [router, "address add fd00:2::2/64 dev eth0 nodad"],
    [router, "link set far0 up"],
    [far, "address add fd00:51::2/64 dev eth0 nodad"],
    [far, "route add default via 198.51.100.1"],
    [far, "-6 route add default via fd00:51::1"],
  ] as const)
    there(machine, "ip", ...words.split(" "))
  for (const name of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"])
    there(router, "sh", "-c", `echo 1 > /proc/sys/net/${name}`)
  const silent = "icmp type destination-unreachable drop; add rule inet mute out icmpv6 type packet-too-big drop"
  const chain = "add table inet mute; add chain inet mute out { type filter hook output priority 0; }"
  there(router, "nft", `${chain}; add rule inet mute out ${silent}`)
  const script = `Bun.serve({ port: 80, hostname: "::", fetch: () => new Response("x".repeat(${SIZE_BYTES})) }); console.log("up")`
  await far.start(process.execPath, "-e", script).stdout.getReader().read()
})
afterAll(async () => {
  await far.close()
  await router.close()
})
beforeEach(() => {
  beHost()
  setting("ipv4/ip_forward", "1")
  setting("ipv6/conf/all/forwarding", "1")
  carry(1400)
  must("ip", "route", "replace", "default", "via", "192.0.2.2")
  must("ip", "address", "replace", "fd00:2::1/64", "dev", "out0", "nodad")
  must("ip", "-6", "route", "replace", "default", "via", "fd00:2::2")
})
const place = eachInItsPlace()
afterEach(expectNoNetwork)

/** What the way out carries, at both ends of its cable. */
function carry(bytes: number): void {
  must("ip", "link", "set", "out0", "mtu", String(bytes))
  expect(router.run("ip", "link", "set", "eth0", "mtu", String(bytes)).exit).toBe(0)
}

const driver = join(import.meta.dir, "../fixtures/networkDriver.ts")
function drive(work: "connect" | "release", vm: string, network: object): void {
  must(process.execPath, driver, work, place.dir, vm, JSON.stringify(network))
  if (work === "release") sql(place, `update vms set state = 'stopped' where id = '${vm}'`)
}

const mtuOf = (link: string) => Number(/mtu (\d+)/.exec(must("ip", "link", "show", link))?.[1])
const tapOf = (vm: string) => `bgr${vm.slice(-8)}`

/** A machine on the bridge with the guest's addresses, whose card carries 1500 bytes: one that is told nothing. */
async function guestOf(address: string): Promise<Outside> {
  const [v4, v6] = must("ip", "neighbour", "show", "dev", "bgr0", "nud", "permanent").trim().split("\n")
  const mac = /lladdr (\S+)/.exec(v4 ?? "")?.[1] ?? ""
  const address6 = [v4, v6].find((line) => line?.startsWith("fd"))?.split(" ")[0]
  // In the place of the tap: of other ports of the bridge nothing is let through.
  must("ip", "link", "delete", "bgraaaaaaaa")
  const guest = await makeOutside({ link: "bgraaaaaaaa", here: undefined, there: `${address}/16` })
  const set = (words: string) => expect(guest.run("ip", ...words.split(" ")), words).toMatchObject({ exit: 0 })
  set(`link set eth0 address ${mac}`)
  set("route add default via 10.213.0.1")
  if (address6 !== undefined) {
    set(`address add ${address6}/64 dev eth0 nodad`)
    set(`-6 route add default via ${address6.replace(/::\w+$/, "::1")}`)
  }
  must("ip", "link", "set", "bgraaaaaaaa", "master", "bgr0")
  return guest
}

/** How many bytes a machine gets by http before it gives up. */
function got(machine: Outside, url: string): number {
  const { stdout } = machine.run("timeout", "5", "curl", "-s", "--noproxy", "*", "-g", "-o", "-", url)
  return stdout.length
}

test("a guest that is told nothing gets all through a way out that carries less, by IPv4 and IPv6, and so do clients of its ports", async () => {
  const network = { ipv6: true, ports: ["8080:80"] }
  drive("connect", "a-aaaaaaaa", network)
  expect([mtuOf("bgr0"), mtuOf(tapOf("a-aaaaaaaa"))]).toEqual([1400, 1400])
  const guest = await guestOf("10.213.0.2")
  try {
    expect(got(guest, `http://${FAR}/`)).toBe(SIZE_BYTES)
    expect(got(guest, `http://[${FAR6}]/`)).toBe(SIZE_BYTES)
    // In by a port, and back: what the client sends is large, too.
    const script = `Bun.serve({ port: 80, hostname: "0.0.0.0", fetch: async (r) => new Response(String((await r.text()).length)) }); console.log("up")`
    await guest.start(process.execPath, "-e", script).stdout.getReader().read()
    const post = `head -c ${SIZE_BYTES} /dev/zero | curl -s --noproxy '*' --max-time 5 --data-binary @- http://192.0.2.1:8080/`
    expect(far.run("sh", "-c", post).stdout).toBe(String(SIZE_BYTES))
  } finally {
    await guest.close()
    drive("release", "a-aaaaaaaa", network)
  }
})

test("a way out that comes to carry less while the VM runs is no harm, with one that carries more beside it", async () => {
  carry(1500)
  drive("connect", "a-aaaaaaaa", {})
  expect(mtuOf("bgr0")).toBe(1500)
  const guest = await guestOf("10.213.0.2")
  try {
    expect(got(guest, `http://${FAR}/`)).toBe(SIZE_BYTES)
    carry(1300)
    expect(got(guest, `http://${FAR}/`)).toBe(SIZE_BYTES)
    drive("connect", "b-bbbbbbbb", {})
    expect([mtuOf("bgr0"), mtuOf(tapOf("a-aaaaaaaa")), mtuOf(tapOf("b-bbbbbbbb"))]).toEqual([1300, 1500, 1300])
    drive("release", "b-bbbbbbbb", {})
  } finally {
    await guest.close()
    drive("release", "a-aaaaaaaa", {})
  }
})

test.each([
  [
    "the least of several ways out",
    [
      "link add up1 mtu 1350 type veth peer name up1p",
      "link set up1p up",
      "link set up1 up",
      "route add default dev up1 metric 9",
    ],
    1350,
  ],
  [
    "of several next hops",
    [
      "link add up1 mtu 1340 type veth peer name up1p",
      "link set up1p up",
      "link set up1 up",
      "route replace default nexthop via 192.0.2.2 nexthop dev up1",
    ],
    1340,
  ],
  [
    "of a VPN's two halves",
    [
      "link add up1 mtu 1330 type veth peer name up1p",
      "link set up1p up",
      "link set up1 up",
      "route add 0.0.0.0/1 dev up1",
    ],
    1330,
  ],
  ["of a way by IPv6 alone", ["route delete default", "link set out0 mtu 1390"], 1390],
  ["1500 where it carries more", ["link set out0 mtu 9000"], 1500],
  ["1500 without a way out", ["route delete default", "-6 route delete default"], 1500],
])("a network has the MTU of the way out: %s", (_, words, mtu) => {
  try {
    for (const line of words) must("ip", ...line.split(" "))
    drive("connect", "a-aaaaaaaa", { netns: true })
    expect([mtuOf("bgr0"), mtuOf(tapOf("a-aaaaaaaa"))]).toEqual([mtu, mtu])
  } finally {
    drive("release", "a-aaaaaaaa", {})
    Bun.spawnSync(["ip", "link", "delete", "up1"])
  }
})

async function end(run: Running): Promise<void> {
  run.signal("SIGINT")
  expect((await run.ended).exit).toBe(130)
}

test.each([
  ["of the way out", {}, 1400],
  ["that the plugin names", { mtu: 9000 }, 9000],
  ["that the plugin names, in a namespace of its own", { mtu: 1420, netns: true }, 1420],
])("a guest is told the MTU %s", async (_, network, mtu) => {
  const run = startGuest(place, "ip link show eth0; echo guest-is-up; sleep 600", { network })
  await run.shows("guest-is-up")
  await end(run)
  expect((await run.ended).stdout).toMatch(new RegExp(`eth0: .* mtu ${mtu} `))
})
