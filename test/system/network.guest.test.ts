import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { mkdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture, type Running, start, startGuest, until } from "./support/banger.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, setting, sh } from "./support/wire.ts"

let outside: Outside
beforeAll(async () => {
  outside = await makeOutside()
  await echoServer()
})
afterAll(() => outside.close())
beforeEach(beHost)
const place = eachInItsPlace()
afterEach(expectNoNetwork)

const web = "mkdir -p /tmp/w; echo from-the-guest > /tmp/w/index.html; httpd -p 80 -h /tmp/w"
const get = (url: string) => ["timeout", "5", "busybox", "wget", "-q", "-O", "-", url]
const pings = (address: string) => sh("busybox", "ping", "-c", "1", "-w", "4", address).exit === 0

async function end(...runs: readonly Running[]): Promise<void> {
  for (const run of runs) run.signal("SIGINT")
  for (const { exit, stderr } of await Promise.all(runs.map((run) => run.ended))) {
    expect({ exit, stderr }).toMatchObject({ exit: 130 })
  }
}

/** A server that tells who asks. */
async function echoServer(): Promise<void> {
  const script =
    'Bun.serve({ port: 80, hostname: "0.0.0.0", fetch: (r, s) => new Response("you are " + s.requestIP(r).address) }); console.log("up")'
  await outside.start(process.execPath, "-e", script).stdout.getReader().read()
}

test("a guest has an address, a way out by NAT, and ways in by its ports; all of it goes with it", async () => {
  const network = { ports: ["8080:80", "127.0.0.1:8081:80/tcp"], forward: true, dns: ["192.0.2.2"] }
  const script = `${web}; cat /etc/resolv.conf; wget -q -O - http://192.0.2.2/; echo; echo guest-is-up; sleep 600`
  const run = startGuest(place, script, { network })
  await run.shows("guest-is-up")
  await run.shows("nameserver 192.0.2.2")
  // By the host's address, not its own.
  await run.shows("you are 192.0.2.1")
  await run.shows("switched on net.ipv4.ip_forward")
  expect(pings("10.213.0.2")).toBe(true)
  for (const url of [
    "http://10.213.0.2/",
    "http://127.0.0.1:8080/",
    "http://192.0.2.1:8080/",
    "http://127.0.0.1:8081/",
  ]) {
    expect(sh(...get(url)), url).toMatchObject({ exit: 0, stdout: "from-the-guest\n" })
  }
  expect(outside.run(...get("http://192.0.2.1:8080/"))).toMatchObject({ exit: 0, stdout: "from-the-guest\n" })
  // A port of 127.0.0.1 is this host's alone, and nobody outside reaches a guest but by its ports.
  expect(outside.run(...get("http://192.0.2.1:8081/")).exit).not.toBe(0)
  expect(outside.run("ip", "route", "add", "10.213.0.0/16", "via", "192.0.2.1").exit).toBe(0)
  expect(outside.run(...get("http://10.213.0.2/")).exit).not.toBe(0)
  const listed = JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout)
  expect(listed.leases).toMatchObject([
    { address: "10.213.0.2", state: "running", ports: ["8080:80/tcp", "127.0.0.1:8081:80/tcp"] },
  ])
  expect(listed.taps).toMatchObject([{ bridge: "bgr0", kind: "tap", ours: true, name: listed.leases[0].interface }])
  await end(run)
})

test("what bootArgs have behind -- is init's: banger's words stand before it, and the guest has its address", async () => {
  const bootArgs = "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off -- one two"
  const run = startGuest(place, "cat /proc/cmdline; echo guest-is-up; sleep 600", { bootArgs, network: true })
  await run.shows("guest-is-up")
  await run.shows(":eth0:off")
  expect(pings("10.213.0.2")).toBe(true)
  await end(run)
  const { stdout } = await run.ended
  expect(stdout).toMatch(/pci=off .*ip=10\.213\.0\.2:\S+ -- one two/)
})

test("isolated guests reach no other, also not by the host; open ones reach each other; none can take another's address", async () => {
  setting("ipv4/ip_forward", "1")
  const wait = "echo guest-is-up; sleep 600"
  const open = startGuest(place, wait, { name: "open", network: { isolate: false } })
  await open.shows("guest-is-up")
  const closed = startGuest(place, wait, { name: "closed", network: true })
  await closed.shows("guest-is-up")
  const probe = (address: string) =>
    `ping -c 1 -W 2 ${address} > /dev/null && echo reaches ${address} || echo misses ${address}`
  const routed = (address: string) =>
    `ip route add ${address} via 10.213.0.1; ${probe(address)}; ip route del ${address}`
  const first = startGuest(place, [probe("10.213.0.1"), probe("10.213.0.2"), probe("10.213.0.3"), wait].join("; "), {
    name: "first",
    network: { isolate: false },
  })
  await first.shows("guest-is-up")
  await first.shows("reaches 10.213.0.1")
  await first.shows("reaches 10.213.0.2")
  await first.shows("misses 10.213.0.3")
  const thief = [
    probe("10.213.0.1"),
    probe("10.213.0.2"),
    probe("10.213.0.3"),
    routed("10.213.0.2"),
    // The address, then the MAC too, of the one that is open.
    "ip addr add 10.213.0.2/32 dev eth0; ping -c 1 -W 2 -I 10.213.0.2 10.213.0.1 > /dev/null && echo stolen || echo refused",
    wait,
  ]
  const second = startGuest(place, thief.join("; "), { name: "second", network: true })
  await second.shows("guest-is-up")
  await end(open, closed, first, second)
  const { stdout } = await second.ended
  expect(stdout).toContain("reaches 10.213.0.1")
  expect(stdout).toContain("misses 10.213.0.2")
  expect(stdout).toContain("misses 10.213.0.3")
  expect(stdout).not.toMatch(/reaches 10\.213\.0\.[23]/)
  expect(stdout).toContain("refused")
  expect(stdout).not.toContain("stolen")
})

test("by the host's address a guest reaches ports of VMs of other bridges, not its own, nor those of its own bridge, nor those of 127.0.0.1", async () => {
  const run = (name: string, script: string, network: unknown) =>
    startGuest(place, `${script}; echo guest-is-up; sleep 600`, { name, network })
  const fetched = (url: string) => `timeout 5 wget -q -O - ${url} || echo misses ${url}`
  const urls = ["http://192.0.2.1:8080/", "http://10.213.0.1:8080/", "http://192.0.2.1:8081/", "http://10.213.0.2/"]
  const all = urls.map(fetched).join("; ")
  const ports = ["8080:80", "127.0.0.1:8081:80"]
  const server = run("server", `${web}; ${all}`, { ports, forward: true })
  await server.shows("guest-is-up")
  const [beside, apart] = [run("beside", all, true), run("apart", all, { bridge: "bgr1" })]
  for (const one of [beside, apart]) await one.shows("guest-is-up")
  await end(server, beside, apart)
  const said = async (one: Running) =>
    (await one.ended).stdout.match(/from-the-guest|misses \S+/g)?.map((word) => word.replace("misses ", "")) ?? []
  const [port = "", gatewaysPort = "", loopbackPort = "", address = ""] = urls
  // Its own address is its own.
  expect(await said(server)).toEqual([port, gatewaysPort, loopbackPort, "from-the-guest"])
  expect(await said(beside)).toEqual([port, gatewaysPort, loopbackPort, address])
  expect(await said(apart)).toEqual(["from-the-guest", "from-the-guest", loopbackPort, address])
})

test("in a namespace of its own a guest has the same network, and its VMM sees nothing but that", async () => {
  const network = { netns: true, ports: ["8080:80"], forward: true, ipv6: true }
  const run = startGuest(
    place,
    `${web}; wget -q -O - http://192.0.2.2/; ip -6 addr; echo; echo guest-is-up; sleep 600`,
    { network },
  )
  await run.shows("guest-is-up")
  await run.shows("you are 192.0.2.1")
  expect(pings("10.213.0.2")).toBe(true)
  expect(sh(...get("http://127.0.0.1:8080/"))).toMatchObject({ exit: 0, stdout: "from-the-guest\n" })
  const [tap] = JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout).taps
  expect(tap).toMatchObject({ kind: "veth", bridge: "bgr0" })
  expect(must("ip", "link", "show", tap.name)).toContain("veth")
  const file = join(place.runtime, records(place)[0]?.id ?? "", "netns")
  const inside = (...argv: readonly string[]) => must("nsenter", `--net=${file}`, ...argv)
  expect(inside("ip", "-o", "link").trim().split("\n")).toHaveLength(4)
  for (const link of ["br0", "up0", tap.name]) {
    expect(inside("cat", `/proc/sys/net/ipv6/conf/${link}/disable_ipv6`), link).toBe("1\n")
  }
  const [vmm = 0] = processesOf(place)
  expect(statSync(`/proc/${vmm}/ns/net`).ino).toBe(statSync(file).ino)
  await run.shows("inet6 fd")
  const [address6 = ""] = must("ip", "-6", "neighbour", "show", "dev", "bgr0", "nud", "permanent").split(" ")
  expect(address6).toStartWith("fd")
  // The guest first makes sure that the address is its own.
  await until(() => sh("busybox", "ping", "-6", "-c", "1", "-W", "2", address6).exit === 0)
  await end(run)
})

test("the user-mode network has ports too, and needs no tap", async () => {
  const run = startGuest(place, `udhcpc -n -q -f -i eth0 > /dev/null; ${web}; echo guest-is-up; sleep 600`, {
    bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off ip=dhcp",
    network: { mode: "user", ports: ["127.0.0.1:8080:80"] },
  })
  await run.shows("guest-is-up")
  expect(sh(...get("http://127.0.0.1:8080/"))).toMatchObject({ exit: 0, stdout: "from-the-guest\n" })
  expect(must("ip", "-o", "link").match(/\bbgr\S+/g) ?? []).toEqual([])
  await end(run)
})

test("in the user mode a guest has the network that it has on a tap, without a word of the plugin", async () => {
  const script = `${web}; ip addr show eth0; cat /etc/resolv.conf; wget -q -O - http://10.0.2.2:8090/; echo guest-is-up; sleep 600`
  const here = Bun.serve({ port: 8090, hostname: "127.0.0.1", fetch: () => new Response("this is the host\n") })
  const run = startGuest(place, script, { network: { mode: "user", ports: ["8080:80"] } })
  await run.shows("guest-is-up")
  await here.stop(true)
  expect(sh(...get("http://127.0.0.1:8080/"))).toMatchObject({ exit: 0, stdout: "from-the-guest\n" })
  await end(run)
  const { stdout } = await run.ended
  expect(stdout).toMatch(/inet 10\.0\.2\.15\/24/)
  expect(stdout).toContain("nameserver 10.0.2.3")
  expect(stdout).toContain("this is the host")
})

test("a port is one VM's, on a tap or in the user mode, whoever came first", async () => {
  const wait = "echo guest-is-up; sleep 600"
  const user = (ports: readonly string[]) => ({ name: "second", network: { mode: "user", ports } })
  const tap = startGuest(place, wait, { name: "first", network: { ports: ["8080:80", "127.0.0.1:5353:53/udp"] } })
  await tap.shows("guest-is-up")
  for (const [port, said] of [
    ["8080:80", "the port 8080/tcp is in use by the VM first-"],
    ["127.0.0.1:8080:80", "the port 127.0.0.1:8080/tcp is in use by the VM first-"],
    ["5353:53/udp", "the port 5353/udp is in use by the VM first-"],
  ] as const) {
    const { exit, stderr } = await startGuest(place, wait, user([port])).ended
    expect({ exit, stderr }).toMatchObject({ exit: 1, stderr: expect.stringContaining(said) })
  }
  const other = { BANGER_STATE_DIR: join(place.dir, "other/s"), BANGER_RUNTIME_DIR: join(place.dir, "other/r") }
  mkdirSync(join(place.dir, "other"))
  const words = ["run", fixture("guest"), "--", wait, JSON.stringify(user(["8080:80"]))]
  expect((await start(place, words, other).ended).stderr).toContain("goes to a VM of another banger")
  await end(tap)
  const first = startGuest(place, wait, user(["8080:80"]))
  await first.shows("guest-is-up")
  const { exit, stderr } = await startGuest(place, wait, { name: "third", network: { ports: ["8080:80"] } }).ended
  expect({ exit, stderr }).toMatchObject({ exit: 1, stderr: expect.stringContaining("is taken by process") })
  await end(first)
})

test("a host whose name servers no guest can reach is told of in one line, and dns: [] is an answer", async () => {
  const file = join(place.dir, "resolv.conf")
  writeFileSync(file, "nameserver 127.0.0.53\n")
  const through = ["unshare", "--mount", "sh", "-c", `mount --bind ${file} /etc/resolv.conf && exec "$@"`, "sh"]
  const run = (network: object) =>
    startGuest(place, "echo guest-is-up; cat /etc/resolv.conf", { network }, [], { through })
  const told = "the guest has no name server: /etc/resolv.conf names 127.0.0.53 (this host alone)"
  const { stderr } = await run({ forward: true }).ended
  expect(stderr.split("\n").filter((line) => line.includes(told))).toHaveLength(1)
  expect((await run({ forward: true, dns: [] }).ended).stderr).not.toContain("name server")
})

test("rules that somebody flushed are put back by net rm; a killed banger's network goes with its VM", async () => {
  const run = startGuest(place, `${web}; echo guest-is-up; sleep 600`, { network: { ports: ["8080:80"] } })
  await run.shows("guest-is-up")
  await run.shows("is off on this host")
  must("nft", "flush", "ruleset")
  expect(sh(...get("http://127.0.0.1:8080/")).exit).not.toBe(0)
  expect((await banger(place, ["net", "rm"])).exit).toBe(0)
  expect(sh(...get("http://127.0.0.1:8080/"))).toMatchObject({ exit: 0, stdout: "from-the-guest\n" })
  run.signal("SIGKILL")
  await run.ended
  expect((await banger(place, ["net", "rm"])).stdout).toBe("")
  expect(pings("10.213.0.2")).toBe(true)
  const { exit, stderr } = await start(place, ["rm", "-f", "guest"]).ended
  expect({ exit, stderr }).toMatchObject({ exit: 0 })
})

test("from another network namespace nothing of a VM's network is believed gone", async () => {
  const run = startGuest(place, "echo guest-is-up; sleep 600", { network: true })
  await run.shows("guest-is-up")
  run.signal("SIGKILL")
  await run.ended
  const elsewhere = await start(place, ["rm", "-f", "guest"], {}, { through: ["unshare", "--net"] }).ended
  expect(elsewhere.stderr).toContain("cannot tell what is left of the network of guest-")
  expect(elsewhere.exit).toBe(1)
  expect(must("ip", "-o", "link")).toContain("bgr0")
  expect(await banger(place, ["rm", "-f", "guest"])).toMatchObject({ exit: 0 })
})
