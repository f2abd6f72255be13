import { Database } from "bun:sqlite"
import { beforeEach, expect, test } from "bun:test"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended, fixture, type Running, start, until, wasKilled } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, kernelOf } from "./support/doubles.ts"
import { onEachFirecracker, pollingGuest } from "./support/firecrackers.ts"
import { startLoopback } from "./support/namespace.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { killed, listed } from "./support/vms.ts"

// Network cards come and go while a VM runs. What is made for one on the host goes with it, whoever is killed meanwhile.

const newDirectory = directoriesOfFile()
const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
beforeEach(startLoopback)

type Call = readonly [name: string, ...args: unknown[]]

const PCI = { firecracker: { pci: true } }
const idOf = () => records(place)[0]?.id ?? ""
const linkOf = (count?: number) => `bgr${idOf().slice(-8)}${count === undefined ? "" : `c${count}`}`

function words(spec: object, calls: readonly Call[]): readonly string[] {
  const kernel = firecracker.real ? pollingGuest(place.dir) : kernelOf(place.dir, "PRINT[BANGER-GUEST-UP]")
  return [fixture("changing"), "--", kernel, JSON.stringify(spec), JSON.stringify(calls)]
}
async function running(spec: object, calls: readonly Call[], env: object = firecracker.env): Promise<Running> {
  const run = start(place, ["run", ...words(spec, calls)], { ...env })
  await run.shows("fc: changed")
  return run
}
async function ends(run: Running): Promise<Ended> {
  run.signal("SIGINT")
  return run.ended
}
const refusedIn = (text: string) => text.split("\n").flatMap((line) => line.match(/refused: (.*)/)?.[1] ?? [])
const toldIn = (text: string) =>
  text.split("\n").flatMap((line) => (line.includes("told: ") ? [JSON.parse(line.split("told: ")[1] ?? "")] : []))

/** The cards that Firecracker itself says it has: the tap of each, by its id. */
async function cards(jail = true): Promise<Record<string, string>> {
  const root = jail ? join(place.state, "jail/firecracker", idOf(), "root") : join(place.runtime, idOf())
  const reply = await fetch("http://api/vm/config", { unix: join(root, "api.sock") })
  const config = (await reply.json()) as { "network-interfaces": { iface_id: string; host_dev_name: string }[] }
  return Object.fromEntries(config["network-interfaces"].map((one) => [one.iface_id, one.host_dev_name]))
}

interface Link {
  readonly ifname: string
  readonly ifalias?: string
  readonly master?: string
  readonly linkinfo?: { readonly info_data?: { readonly user?: number; readonly group?: number } }
}
/** banger's interfaces by their names. */
function links(): Record<string, Link> {
  const { stdout } = Bun.spawnSync(["ip", "-d", "-j", "link", "show"])
  const all = JSON.parse(String(stdout)) as Link[]
  return Object.fromEntries(all.filter((one) => one.ifname.startsWith("bgr")).map((one) => [one.ifname, one]))
}
const rules = () => String(Bun.spawnSync(["nft", "list", "ruleset"]).stdout)
async function leases(): Promise<readonly { card: string; address: string; bridge: string; interface: string }[]> {
  return JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout).leases
}

onBoth("a card comes with its own tap, address, ports and rules; going, it leaves the others alone", async () => {
  const lan = { id: "lan", bridge: "bgr7", address: "10.220.0.9", ports: ["127.0.0.1:18080:80"], mtu: 1400 }
  const run = await running({ network: true, ...PCI }, [
    ["network.add", lan],
    ["network.add", { id: "two" }],
    ["network.update", { id: "lan", rx_rate_limiter: { ops: { size: 10, refill_time: 100 } } }],
    ["network.add", { id: "gone", bridge: "bgr8", mac: "02:00:00:00:00:08", isolate: false, nat: false }],
    ["network.remove", "gone"],
  ])
  expect(await cards()).toEqual({ eth0: linkOf(), lan: linkOf(1), two: linkOf(2) })
  const made = links()
  expect(Object.keys(made).sort()).toEqual(["bgr0", "bgr7", linkOf(), linkOf(1), linkOf(2)].sort())
  expect(made[linkOf(1)]).toMatchObject({ master: "bgr7", ifalias: expect.stringContaining(` tap ${idOf()} `) })
  expect(made[linkOf(1)]?.linkinfo?.info_data).toEqual(made[linkOf()]?.linkinfo?.info_data as never)
  expect(await leases()).toMatchObject([
    { card: "eth0", interface: linkOf() },
    { card: "two", address: "10.213.0.3" },
    { card: "lan", address: "10.220.0.9", bridge: "bgr7" },
  ])
  expect(rules()).toContain("10.220.0.9:80")
  // A tap's own name may begin so.
  expect(rules()).not.toContain('"bgr8"')
  expect(records(place)[0]?.handles).not.toContain("plugging")
  const inspected = JSON.parse((await banger(place, ["inspect", "fc"])).stdout)
  expect(inspected.vmmConfig["network-interfaces"]).toHaveLength(3)
  const { stderr } = await ends(run)
  expect(stderr).not.toContain("refused")
  expect(toldIn(stderr)).toMatchObject([
    { mode: "tap", address: "10.220.0.9", gateway: "10.220.0.1", prefix: 16, bridge: "bgr7", interface: linkOf(1) },
    { address: "10.213.0.3", bridge: "bgr0", interface: linkOf(2) },
    { address: "10.221.0.2", bridge: "bgr8", mac: "02:00:00:00:00:08", interface: linkOf(3) },
  ])
  expect(links()).toEqual({})
  expect(rules()).not.toContain("banger")
})

onBoth("the plugin's own card can go too: its network with it, and the VM cannot be saved then", async () => {
  const run = await running({ network: { ports: ["127.0.0.1:18080:80"] }, ...PCI }, [
    ["network.add", { id: "lan", bridge: "bgr7" }],
    ["snapshot", join(place.dir, "saved")],
    ["network.remove", "lan"],
    ["network.remove", "eth0"],
    ["network.update", { rx_rate_limiter: {} }],
    ["snapshot", join(place.dir, "saved")],
    ["network.add", { id: "eth0" }],
  ])
  expect(await cards()).toEqual({})
  expect(links()).toEqual({})
  expect(await leases()).toEqual([])
  expect(refusedIn((await ends(run)).stderr)).toEqual([
    "network card lan was added while the VM ran, and cannot be saved",
    "ctx.network.update: the guest has no network card on a tap",
    "network card eth0 was taken out while the VM ran: a snapshot without it cannot be restored",
    "ctx.network.add: id: a-z, 0-9 and _, at most 20 long; not eth0, which is the plugin's own",
  ])
  expect(existsSync(join(place.dir, "saved"))).toBe(false)
})

onBoth("what is refused is refused by its name, and leaves nothing", async () => {
  const mac = "02:00:00:00:00:09"
  const run = await running({ network: { mac, ports: ["127.0.0.1:18080:80"] }, ...PCI }, [
    ["network.add", { id: "a-b" }],
    ["network.add", {}],
    ["network.add", { id: "lan", netns: true }],
    ["network.add", { id: "lan", bridge: "eth0" }],
    ["network.add", { id: "lan", address: "10.213.0.1" }],
    ["network.add", { id: "lan", mtu: 67 }],
    ["network.add", { id: "lan", subnet: "10.9.0.0/24" }],
    ["network.add", { id: "lan", address: "10.213.0.2" }],
    ["network.add", { id: "lan", bridge: "bgr7", mac }],
    ["network.add", { id: "lan", bridge: "bgr7", ports: ["127.0.0.1:18080:81"] }],
    ["network.add", { id: "lan", bridge: "bgr7" }],
    ["network.add", { id: "lan", bridge: "bgr8" }],
    ["network.remove", "lam"],
    ["network.remove", 7],
    ["network.update", { id: "lam", rx_rate_limiter: {} }],
    ["network.remove", "lan"],
  ])
  expect(Object.keys(links()).sort()).toEqual(["bgr0", linkOf()].sort())
  expect(await leases()).toMatchObject([{ card: "eth0" }])
  const vm = `the VM ${idOf()}`
  expect(refusedIn((await ends(run)).stderr)).toEqual([
    "ctx.network.add: id: a-z, 0-9 and _, at most 20 long; not eth0, which is the plugin's own",
    "ctx.network.add: id: missing",
    "ctx.network.add: netns: unknown",
    "ctx.network.add: network.bridge: there is no interface eth0 in this network namespace",
    expect.stringContaining("ctx.network.add: an address of the subnet that guests can have"),
    "ctx.network.add: mtu: what a frame may carry, in bytes: a whole number from 68 to 65535",
    "ctx.network.add: the bridge bgr0 has the subnet 10.213.0.0/16, not 10.9.0.0/24",
    `ctx.network.add: the address 10.213.0.2 is in use by ${vm}`,
    `ctx.network.add: the MAC address ${mac} is in use by ${vm}`,
    `ctx.network.add: the port 127.0.0.1:18080/tcp is in use by ${vm}`,
    "ctx.network.add: a card is called lan already",
    'ctx.network.remove: no card is called "lam"; did you mean lan?',
    "ctx.network.remove: 7 is not a network card's id",
    'ctx.network.update: no card is called "lam"; did you mean lan?',
  ])
})

onBoth("a card goes on a bridge of the user's, as the plugin's own, and leaves that as it was", async () => {
  const ip = (...argv: readonly string[]) => expect(Bun.spawnSync(["ip", ...argv]).exitCode).toBe(0)
  ip("link", "add", "br0", "address", "02:aa:00:00:00:01", "type", "bridge")
  ip("link", "set", "br0", "up")
  try {
    const run = await running({ network: { bridge: "br0" }, ...PCI }, [
      ["network.add", { id: "lan", bridge: "br0", address: "192.0.2.9", isolate: true }],
      ["network.add", { id: "gone", bridge: "br0", mac: "02:00:00:00:00:08" }],
      ["network.remove", "gone"],
      ["network.add", { id: "wan", bridge: "br0", ports: ["18080:80"] }],
    ])
    expect(await cards()).toEqual({ eth0: linkOf(), lan: linkOf(1) })
    const made = links()
    expect(made[linkOf(1)]).toMatchObject({ master: "br0", ifalias: expect.stringContaining(` tap ${idOf()} `) })
    expect(made[linkOf(1)]?.linkinfo?.info_data).toEqual(made[linkOf()]?.linkinfo?.info_data as never)
    expect(rules()).toContain(`"${linkOf(1)}" . 192.0.2.9`)
    expect(rules()).not.toContain("02:00:00:00:00:08")
    const { stderr } = await ends(run)
    const known = { mode: "tap", bridge: "br0", ports: [] }
    expect(toldIn(stderr)).toMatchObject([{ ...known, address: "192.0.2.9", interface: linkOf(1) }, known])
    expect(refusedIn(stderr)).toEqual([expect.stringContaining("ctx.network.add: ports: no ports on br0")])
    expect(links()).toEqual({})
    expect(rules()).not.toContain("banger")
  } finally {
    ip("link", "delete", "br0")
  }
})

onBoth("without a PCI bus, and for a VMM in a network namespace of its own, no card comes", async () => {
  const calls: readonly Call[] = [
    ["network.add", { id: "lan" }],
    ["network.remove", "eth0"],
  ]
  const plain = await running({ network: true }, calls)
  expect(await cards()).toEqual({ eth0: linkOf() })
  expect(refusedIn((await ends(plain)).stderr)).toEqual([
    "ctx.network.add: the guest has no PCI bus to plug network cards into",
    "ctx.network.remove: the guest has no PCI bus to plug network cards into",
  ])
  await banger(place, ["rm", "fc"])
  const apart = await running({ network: { netns: true }, ...PCI }, calls.slice(0, 1))
  expect(refusedIn((await ends(apart)).stderr)).toEqual([
    "ctx.network.add: the VMM is in another network namespace than banger",
  ])
})

onBoth("without a jail, and without a network of the plugin's, a card comes as well", async () => {
  const run = await running({ jail: false, ...PCI }, [["network.add", { id: "lan" }]])
  expect(await cards(false)).toEqual({ lan: linkOf() })
  expect((await ends(run)).stderr).not.toContain("refused")
})

onBoth("the bus has 31 slots: one card more is refused, and nothing of it is left", async () => {
  const all = Array.from({ length: 32 }, (_, at): Call => ["network.add", { id: `c${at}` }])
  const run = await running(PCI, all)
  expect(Object.keys(await cards())).toHaveLength(31)
  expect(await leases()).toHaveLength(31)
  const [refused, ...others] = refusedIn((await ends(run)).stderr)
  expect(refused).toContain("network.c31: Firecracker refused it: PCI manager error")
  expect(others).toEqual([])
})

onBoth("whoever takes the VM over has the card, and releases it with the VM", async () => {
  const spec = { network: true, ...PCI }
  const ready = await banger(place, ["run", "--detach", ...words(spec, [["network.add", { id: "lan" }]])], {
    ...firecracker.env,
  })
  expect(ready).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  expect(await leases()).toHaveLength(2)
  await killed(vm?.supervisor)
  expect(await banger(place, ["sweep"])).toMatchObject({ exit: 0 })
  expect(await cards()).toEqual({ eth0: linkOf(), lan: linkOf(1) })
  expect(Object.keys(links()).sort()).toEqual(["bgr0", linkOf(), linkOf(1)].sort())
  expect(await banger(place, ["stop", "fc"])).toMatchObject({ exit: 0 })
  await until(() => processesOf(place).length === 0)
  expect(links()).toEqual({})
})

onBoth("what a VM without a record has left of its cards is found, and goes", async () => {
  await banger(place, ["run", "--detach", ...words({ network: true, ...PCI }, [["network.add", { id: "lan" }]])], {
    ...firecracker.env,
  })
  const [vm] = await listed(place)
  await killed(vm?.supervisor)
  await killed(vm?.pid)
  const db = new Database(join(place.state, "state.db"))
  db.exec("delete from vms")
  db.close()
  const found = await banger(place, ["net", "rm", "--json"])
  expect(JSON.parse(found.stdout).map(({ name }: { name: string }) => name)).toEqual(
    expect.arrayContaining([`${vm?.id}`, `${vm?.id}:lan`, "bgr0"]),
  )
  expect(await leases()).toEqual([])
  expect(links()).toEqual({})
  expect(await banger(place, ["sweep", "--grace", "0s", "--confirm", "1"])).toMatchObject({ exit: 0 })
})

test("cards come with Firecracker 1.16 alone: an older one is named, and nothing is made", async () => {
  const older = buildDoubles(newDirectory(), { version: "1.15.1" }).env
  const run = await running(PCI, [["network.add", { id: "lan" }]], older)
  expect(links()).toEqual({})
  const what = "a device that comes or goes while the guest runs"
  expect(refusedIn((await ends(run)).stderr)).toEqual([
    `ctx.network.add: ${what}: Firecracker 1.15 does not have it: it came with 1.16`,
  ])
})

for (const [what, calls, card] of [
  ["added", [["network.add", { id: "lan", bridge: "bgr7", ports: ["127.0.0.1:18080:80"] }]], "lan"],
  ["removed", [["network.remove", "eth0"]], "eth0"],
] as const)
  onBoth(
    `killed at every moment while a card is ${what}, the VM has it whole or not, and nothing else is left`,
    async () => {
      const program = join(import.meta.dir, "../fixtures/killChanges.ts")
      const list = join(place.dir, "moments")
      const begin = (at: number) =>
        start(
          place,
          ["run", ...words({ network: { ports: ["127.0.0.1:18081:80"] }, ...PCI }, calls)],
          { ...firecracker.env, BANGER_TEST_KILL_AT: String(at), ...(at === 0 ? { BANGER_TEST_MOMENTS: list } : {}) },
          { through: [process.execPath, program], self: false },
        )
      writeFileSync(list, "")
      const whole = begin(0)
      await whole.shows("fc: changed")
      await ends(whole)
      const moments = readFileSync(list, "utf8").trimEnd().split("\n")
      expect(moments.length).toBeGreaterThan(5)
      const found = new Set<boolean>()
      let [triedCount, killedCount] = [0, 0]
      // On the real one some moments are enough, and the last ones.
      const some = moments.map((_, at) => at + 1).filter((at) => at % 5 === 1 || at > moments.length - 2)
      for (const at of firecracker.real ? some : moments.keys().map((at) => at + 1)) {
        const label = `${at}: before ${moments[at - 1]}`
        triedCount++
        if (!(await wasKilled(begin(at), "fc: changed", label))) continue
        killedCount++
        expect((await banger(place, ["sweep"])).exit, label).toBe(0)
        const has = await cards()
        const own = await leases()
        expect(Object.fromEntries(own.map((one) => [one.card, one.interface])), label).toEqual(has)
        const bridges = own.map(({ bridge }) => bridge)
        expect(Object.keys(links()).sort(), label).toEqual([...new Set([...bridges, ...Object.values(has)])].sort())
        for (const [id, port] of [
          ["lan", "dport 18080"],
          ["eth0", "dport 18081"],
        ] as const)
          expect(rules().includes(port), label).toBe(id in has)
        expect(records(place)[0]?.handles, label).not.toContain("plugging")
        found.add(card in has)
        expect((await banger(place, ["stop", "fc"])).exit, label).toBe(0)
        await until(() => processesOf(place).length === 0)
        expect(links(), label).toEqual({})
      }
      expect(killedCount).toBeGreaterThan(triedCount / 2)
      expect(found.size).toBe(2)
    },
    800_000,
  )
