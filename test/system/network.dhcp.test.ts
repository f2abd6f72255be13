import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture, start, startGuest, until } from "./support/banger.ts"
import { eachInItsPlace, records, supervisorsOf } from "./support/place.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, sh } from "./support/wire.ts"

let outside: Outside
beforeAll(async () => {
  outside = await makeOutside()
})
afterAll(() => outside.close())
beforeEach(beHost)
const place = eachInItsPlace()
afterEach(expectNoNetwork)

/** As a distribution's image: no address on the command line, but a program that asks for it. */
const bootArgs = "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off ip=dhcp"
const pings = (address: string) => sh("busybox", "ping", "-c", "1", "-w", "4", address).exit === 0

/** Asks again and again, and says how each went. */
const asking =
  "while :; do udhcpc -n -q -t 2 -T 1 -i eth0 > /dev/null 2>&1 && echo answered || echo silent; sleep 1; done"

test.each([false, true])(
  "a guest that asks by DHCP has its address, way out and name servers (netns: %p)",
  async (netns) => {
    const network = { dns: ["192.0.2.2"], forward: true, mtu: 1400, address: "10.213.0.9", netns }
    const script =
      "ifconfig eth0; route -n; cat /etc/resolv.conf; ping -c 1 -w 4 192.0.2.2 > /dev/null && echo it-is-out; sleep 600"
    const run = startGuest(place, script, { bootArgs, network })
    await run.shows("it-is-out")
    await run.shows("inet addr:10.213.0.9  Bcast:10.213.255.255  Mask:255.255.0.0")
    await run.shows("nameserver 192.0.2.2")
    expect(pings("10.213.0.9")).toBe(true)
    run.signal("SIGINT")
    expect((await run.ended).exit).toBe(130)
  },
)

test("one whose supervisor rests is answered, none without a supervisor, and again by the next one", async () => {
  const words = ["run", fixture("guest"), "--detach", "--", asking, JSON.stringify({ bootArgs, network: true })]
  expect(await start(place, words).ended).toMatchObject({ exit: 0 })
  const [{ id } = { id: "" }] = records(place)
  const console = () => readFileSync(`${place.state}/vms/${id}/console.log`, "utf8")
  const saysNext = async (what: string) => {
    const before = console().length
    await until(() => console().slice(before).includes(what))
  }
  const [supervisor = 0] = supervisorsOf(place)
  await until(() => readFileSync(`/proc/${supervisor}/cmdline`, "utf8").includes("__rest"))
  await saysNext("answered")
  expect(pings("10.213.0.2")).toBe(true)
  expect(sh("kill", "-KILL", String(supervisor)).exit).toBe(0)
  await saysNext("silent")
  expect(await banger(place, ["supervise", "--detach", id])).toMatchObject({ exit: 0 })
  await saysNext("answered")
  expect(await banger(place, ["net", "hosts"])).toMatchObject({
    exit: 0,
    stdout: `10.213.0.2 ${records(place)[0]?.name}\n`,
  })
  expect(await banger(place, ["rm", "-f", id])).toMatchObject({ exit: 0 })
  expect((await banger(place, ["net", "hosts", "--json"])).stdout).toBe("[]\n")
})

test("questions without end, and those of others, are not answered, and cost the host's supervisor no more than so many", async () => {
  must("ip", "link", "add", "bgrflood", "type", "veth", "peer", "name", "far")
  try {
    for (const link of ["bgrflood", "far"]) must("ip", "link", "set", link, "up")
    must("ip", "link", "set", "far", "address", "02:00:5e:10:00:01")
    const driver = Bun.spawn([process.execPath, join(import.meta.dir, "../fixtures/dhcpFlood.ts")], {
      stdout: "pipe",
      stderr: "inherit",
    })
    const { seen, taken, again } = JSON.parse(await new Response(driver.stdout).text())
    expect(seen).toEqual({ "02005e100001": 1000 })
    expect(again).toEqual(["02005e100001"])
    // Between two looks at what else is awaited no more than so many are answered.
    expect(Math.max(...taken)).toBeLessThanOrEqual(16)
    expect(taken.reduce((sum: number, one: number) => sum + one, 0)).toBe(20)
    expect(await driver.exited).toBe(0)
  } finally {
    must("ip", "link", "delete", "bgrflood")
  }
})
