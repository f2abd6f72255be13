import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { chmodSync, chownSync, mkdirSync, symlinkSync } from "node:fs"
import { join } from "node:path"
import { findLink } from "../../src/base/linux/links.ts"
import { withRoute } from "../../src/base/linux/rtnetlink.ts"
import { banger, fixture, type Running, start, until } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, type Doubles, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace } from "./support/place.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, setting, sh } from "./support/wire.ts"

const newDirectory = directoriesOfFile()

let doubles: Doubles
let outside: Outside
beforeAll(async () => {
  doubles = buildDoubles(newDirectory())
  outside = await makeOutside()
})
afterAll(() => outside.close())
beforeEach(beHost)
const place = eachInItsPlace()
afterEach(expectNoNetwork)

function boot(network: unknown, flags: readonly string[] = [], through: readonly string[] = []): Running {
  const spec = JSON.stringify({ network })
  const argv = ["run", ...flags, fixture("firecracker"), "--", kernelOf(place.dir, "PRINT[up]"), spec]
  return start(place, argv, { ...doubles.env }, { through })
}

async function refused(run: Running, ...words: readonly string[]): Promise<void> {
  const { stderr, exit } = await run.ended
  for (const word of words) expect(stderr).toContain(word)
  expect([1, 2]).toContain(exit ?? -1)
}

async function up(network: unknown, name: string): Promise<Running> {
  const run = boot(network, ["--name", name])
  await run.shows("runs as firecracker")
  return run
}

async function end(run: Running): Promise<void> {
  run.signal("SIGINT")
  expect((await run.ended).exit).toBe(130)
}

test.each([
  ["a subnet too small", { subnet: "10.9.0.0/31" }, "allowed: an IPv4 subnet from /8 to /30"],
  ["a subnet with host bits", { subnet: "10.9.0.1/24" }, "allowed: an IPv4 subnet from /8 to /30"],
  ["a subnet of this host itself", { subnet: "127.0.0.0/8" }, "allowed: an IPv4 subnet from /8 to /30"],
  ["an octal address", { address: "10.213.0.010" }, "allowed: an IPv4 address"],
  ["the host's own address", { address: "10.213.0.1" }, "an address of the subnet that guests can have"],
  ["an address of another subnet", { address: "10.9.0.2" }, "an address of the subnet that guests can have"],
  ["a MAC of a group", { mac: "01:00:5e:00:00:01" }, "allowed: a MAC address of one interface"],
  ["half a MAC", { mac: "02:00:5e" }, "allowed: a MAC address of one interface"],
  ["a name too long", { bridge: "bgr-abcdefghijkl" }, "allowed: a name for a bridge of banger's own"],
  ["a name that no interface has", { bridge: "br 0" }, "allowed: a name for a bridge of banger's own"],
  ["a name that counts", { bridge: "bgr%d" }, "allowed: a name for a bridge of banger's own"],
  ["port 0", { ports: ["0:80"] }, 'network.ports[0] is "0:80"; allowed: "HOST:GUEST"'],
  ["port 65536", { ports: ["8080:65536"] }, 'allowed: "HOST:GUEST"'],
  ["a port twice", { ports: ["8080:80", "127.0.0.1:8080:81"] }, "allowed: each port of the host once"],
  ["a port of sctp", { ports: ["80:80/sctp"] }, 'allowed: "HOST:GUEST"'],
  ["an unknown key", { subnett: "10.9.0.0/24" }, "unknown key network.subnett; did you mean subnet?"],
  ["a bridge for the user mode", { mode: "user", bridge: "bgr1" }, 'with mode "user" only mac and ports'],
  ["a word", "tap", 'network is "tap"; allowed: true, false, "user"'],
])("%s is wrong usage, and nothing is made", async (_, network, words) => {
  const run = boot(network)
  await refused(run, words)
  expect((await run.ended).exit).toBe(2)
})

test("the user mode is QEMU's: with Firecracker it is wrong usage", async () => {
  await refused(boot("user"), "firecracker has no user-mode network")
})

test("a subnet that the host has a route or an address in is refused, and another one named", async () => {
  await refused(
    boot({ subnet: "192.0.2.0/25" }),
    "overlaps the address 192.0.2.1/24 that this host has on out0",
    "this one is free",
  )
  must("ip", "route", "add", "10.64.0.0/10", "dev", "out0")
  try {
    await refused(boot({ subnet: "10.100.0.0/16" }), "overlaps the route to 10.64.0.0/10 that this host has on out0")
  } finally {
    must("ip", "route", "delete", "10.64.0.0/10", "dev", "out0")
  }
})

test("what one VM has is not another's: address, MAC, port, subnet of the bridge; a full subnet says so", async () => {
  const first = await up({ subnet: "10.9.0.0/30", mac: "02:00:00:00:00:77", ports: ["8080:80"] }, "first")
  await refused(
    boot({ subnet: "10.9.0.0/30" }),
    "the subnet 10.9.0.0/30 of bgr0 is full: all 1 of its addresses are in use",
  )
  await refused(boot({ subnet: "10.9.0.0/30", address: "10.9.0.2" }), "the address 10.9.0.2 is in use by the VM first-")
  await refused(boot({ subnet: "10.9.1.0/24" }), "the bridge bgr0 has the subnet 10.9.0.0/30, not 10.9.1.0/24")
  const other = { bridge: "bgr1" }
  await refused(
    boot({ ...other, mac: "02:00:00:00:00:77" }),
    "the MAC address 02:00:00:00:00:77 is in use by the VM first-",
  )
  await refused(
    boot({ ...other, ports: ["127.0.0.1:8080:22"] }),
    "the port 127.0.0.1:8080/tcp is in use by the VM first-",
  )
  await end(await up({ ...other, ports: ["8080:80/udp"] }, "second"))
  await end(first)
})

test("a port that the banger of another state directory forwards is refused, and goes on to its own VM", async () => {
  const dirs = { BANGER_STATE_DIR: join(place.dir, "other/s"), BANGER_RUNTIME_DIR: join(place.dir, "other/r") }
  mkdirSync(join(place.dir, "other"))
  const spec = JSON.stringify({ network: { bridge: "bgr1", ports: ["8080:80"] } })
  const argv = ["run", fixture("firecracker"), "--", kernelOf(place.dir, "PRINT[up]"), spec]
  const other = start(place, argv, { ...doubles.env, ...dirs })
  await other.shows("runs as firecracker")
  await refused(
    boot({ ports: ["127.0.0.1:8080:80"] }),
    "the port 127.0.0.1:8080/tcp of this host goes to a VM of another banger, by the rules of the table inet banger_",
  )
  await end(await up({ ports: ["8080:80/udp"] }, "second"))
  await end(other)
})

test("a port that a process of this host has is refused, with its name", async () => {
  const script = 'Bun.listen({ hostname: "0.0.0.0", port: 8080, socket: { data() {} } }); console.log("up")'
  const server = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stdin: "ignore" })
  await server.stdout.getReader().read()
  await refused(boot({ ports: ["8080:80"] }), `the port 8080/tcp of this host is taken by process ${server.pid} (bun`)
  await refused(boot({ ports: ["127.0.0.1:8080:80"] }), "is taken by process")
  server.kill()
  await server.exited
})

test("a bridge that is somebody else's is left alone", async () => {
  must("ip", "link", "add", "bgr0", "type", "bridge")
  await refused(boot(true), "the bridge bgr0 is somebody else's (it has no alias of banger's): left alone")
  must("ip", "link", "set", "bgr0", "alias", "banger bridge - /elsewhere")
  await refused(boot(true), "belongs to the banger whose state is in /elsewhere")
  expect(must("ip", "-o", "link", "show", "bgr0")).toContain("bgr0")
  must("ip", "link", "delete", "bgr0")
  must("ip", "link", "add", "bgr0", "type", "veth", "peer", "name", "other0")
  await refused(boot(true), "bgr0 is there, and is not a bridge (veth): left alone")
  must("ip", "link", "delete", "bgr0")
})

test("without /dev/net/tun, nft, or CAP_NET_ADMIN it says what to do", async () => {
  const gone = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"]
  await refused(boot(true, [], gone), "no tap can be made", "ENOENT", "modprobe tun")
  const bin = join(place.dir, "bin")
  mkdirSync(bin)
  for (const name of ["firecracker", "jailer"]) symlinkSync(join(doubles.bin, name), join(bin, name))
  const hidden = ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null "$(command -v nft)" && exec "$@"', "sh"]
  await refused(boot(true, [], hidden), "nft is not installed", "install the package nftables")
  const weak = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
  await refused(boot(true, [], weak), "this root is without CAP_NET_ADMIN")
  const user = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"]
  for (const dir of [place.dir, join(doubles.bin, "..")]) chmodSync(dir, 0o755)
  const own = join(place.dir, "user")
  mkdirSync(own)
  chownSync(own, 65533, 65533)
  const dirs = { BANGER_STATE_DIR: join(own, "s"), BANGER_RUNTIME_DIR: join(own, "r") }
  const argv = ["run", fixture("firecracker"), "--vmm", "firecracker", "--", kernelOf(place.dir), '{"network":true}']
  const { stderr } = await start(place, argv, { ...doubles.env, ...dirs }, { through: user }).ended
  expect(stderr).toContain("network: only root can make a tap and a bridge (CAP_NET_ADMIN)")
})

test("a port of an address that this host does not have is warned of, and works once the host has it", async () => {
  const run = boot({ ports: ["203.0.113.9:8080:80"], dns: ["10.213.0.1"] })
  await run.shows("the port 203.0.113.9:8080:80/tcp is of 203.0.113.9, which is no address of this host")
  await run.shows("the name server 10.213.0.1 is this host, where nothing answers at port 53/udp")
  await run.shows("runs as firecracker")
  await end(run)
})

test.each([true, { ports: ["8080:80"] }, { netns: true, ipv6: true }])(
  "where /proc/sys is read-only the command that is told mends it: %p",
  async (network) => {
    const readOnly = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    const within = (then: string) => ["unshare", "--mount", "sh", "-c", `${readOnly} && ${then}exec "$@"`, "sh"]
    const run = boot(network, [], within(""))
    await refused(run, "/proc/sys/net/", "EROFS")
    const [, command = ""] = /(mount -o remount\S+ \/proc\/sys) makes it writable/.exec((await run.ended).stderr) ?? []
    expect((await run.ended).stderr).toMatch(/--sysctl net\.ipv[46]\.conf\.default\./)
    const doctor = await start(place, ["doctor", "--json"], {}, { through: within("") }).ended
    const found = JSON.parse(doctor.stdout).checks.find(({ id }: { id: string }) => id === "settings")
    expect(found).toMatchObject({ is: "warn", hint: expect.stringContaining(command) })
    const again = boot(network, ["--name", "again"], within(`${command} && `))
    await again.shows("runs as firecracker")
    await end(again)
  },
)

test("without rules no nft is needed: nat and isolation off", async () => {
  const hidden = ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null "$(command -v nft)" && exec "$@"', "sh"]
  const run = boot({ nat: false, isolate: false }, [], hidden)
  await run.shows("runs as firecracker")
  expect(must("nft", "list", "tables")).not.toContain("banger")
  for (const action of ["ls", "rm"]) {
    const { exit, stderr } = await start(place, ["net", action], {}, { through: hidden }).ended
    expect({ exit, stderr }).toMatchObject({ exit: 0, stderr: "" })
  }
  await end(run)
})

test("Docker's FORWARD DROP is recognised, with the commands that let the bridge through; check finds it by its packets", async () => {
  setting("ipv4/ip_forward", "1")
  must(
    "nft",
    "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; add chain ip filter DOCKER-USER; add rule ip filter FORWARD jump DOCKER-USER",
  )
  const run = await up(true, "docker")
  await end(run)
  const { stderr } = await run.ended
  expect(stderr).toContain("Docker's chain ip filter FORWARD refuses what is forwarded")
  expect(stderr).toContain("iptables -I DOCKER-USER -i bgr0 -j ACCEPT && iptables -I DOCKER-USER -o bgr0 -j ACCEPT")
  const check = () => banger(place, ["net", "check", "--to", "192.0.2.2"])
  expect(await check()).toMatchObject({
    exit: 1,
    stdout: expect.stringMatching(/^FAIL {2}the host's rules let them be forwarded/m),
  })
  must("nft", "delete table ip filter")
  expect(await check()).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^ok {4}192\.0\.2\.2 answers/m) })
  setting("ipv4/ip_forward", "0")
  expect(await check()).toMatchObject({ exit: 1, stdout: expect.stringMatching(/^FAIL {2}the host routes them/m) })
})

test("a tap of a dead VM is taken out of the way; one that a process holds never is, and its holder is named", async () => {
  const owner = place.state
  const alias = (name: string) => must("ip", "link", "set", name, "alias", `banger tap old-abcdefgh ${owner}`)
  must("ip", "tuntap", "add", "dev", "bgrabcdefgh", "mode", "tap")
  alias("bgrabcdefgh")
  must("ip", "address", "add", "10.213.0.1/16", "dev", "bgrabcdefgh")
  must("ip", "link", "set", "bgrabcdefgh", "up")
  // It has the subnet's route: replies to a new VM would go nowhere.
  const run = await up(true, "new")
  expect(sh("ip", "link", "show", "bgrabcdefgh").exit).not.toBe(0)
  await end(run)
  const script = `import { openTun, newTap, keepTap } from ${JSON.stringify(join(import.meta.dir, "../../src/base/linux/tun.ts"))}
    const fd = openTun(); newTap(fd, "bgrabcdefgh"); keepTap(fd, true); console.log("held"); setInterval(() => fd, 1000)`
  const holder = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stdin: "ignore" })
  await holder.stdout.getReader().read()
  alias("bgrabcdefgh")
  const dry = await banger(place, ["net", "rm", "--dry-run"])
  expect(dry.stdout).toContain(`kept: tap bgrabcdefgh: process ${holder.pid} holds it`)
  expect((await banger(place, ["net", "rm", "bgrabcdefgh"])).exit).toBe(1)
  expect(sh("ip", "link", "show", "bgrabcdefgh").exit).toBe(0)
  must("ip", "address", "add", "10.213.0.1/16", "dev", "bgrabcdefgh")
  must("ip", "link", "set", "bgrabcdefgh", "up")
  await refused(boot(true), `the tap bgrabcdefgh of the VM old-abcdefgh is held by process ${holder.pid}`)
  holder.kill("SIGKILL")
  await holder.exited
  expect((await banger(place, ["net", "rm"])).stdout).toContain(
    "removed: tap bgrabcdefgh: no VM has it, and no process holds it",
  )
})

test("a tap says who can hold it, and that one can", async () => {
  const holder = (name: string) => withRoute((route) => findLink(route, name))?.holder
  must("ip", "tuntap", "add", "dev", "free0", "mode", "tap")
  must("ip", "tuntap", "add", "dev", "owned0", "mode", "tap", "vnet_hdr", "user", "70001", "group", "70002")
  expect(holder("free0")).toEqual({ uid: undefined, gid: undefined })
  expect(holder("owned0")).toEqual({ uid: 70_001, gid: 70_002 })
  expect(holder("out0")).toBeUndefined()
  const script = `import { openTun, holdTap } from ${JSON.stringify(join(import.meta.dir, "../../src/base/linux/tun.ts"))}
    holdTap(openTun(), "owned0"); console.log("holds it")`
  // With a device that all may open, as the jail's is the VMM's.
  const device = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200"
  const as = (uid: string, gid: string) => {
    const become = `setpriv --reuid=${uid} --regid=${gid} --clear-groups "$@"`
    return sh("unshare", "--mount", "sh", "-c", `${device} && exec ${become}`, "sh", process.execPath, "-e", script)
  }
  expect(as("70001", "70002")).toMatchObject({ exit: 0, stdout: "holds it\n" })
  expect(as("70001", "70001").stderr).toContain("EPERM")
  expect(as("70002", "70002").stderr).toContain("EPERM")
  for (const link of ["free0", "owned0"]) must("ip", "link", "delete", link)
})

test("a pair of veths is kept while a process holds the tap behind it; what a killed check has left goes", async () => {
  const script = `import { openTun, newTap } from ${JSON.stringify(join(import.meta.dir, "../../src/base/linux/tun.ts"))}
    const fd = openTun(); newTap(fd, "bgrveveveve"); console.log("held"); setInterval(() => fd, 1000)`
  const holder = Bun.spawn(["unshare", "--net", process.execPath, "-e", script], { stdout: "pipe", stdin: "ignore" })
  await holder.stdout.getReader().read()
  must("ip", "link", "add", "bgrveveveve", "type", "veth", "peer", "name", "up0", "netns", String(holder.pid))
  must("ip", "link", "set", "bgrveveveve", "alias", `banger veth old-veveveve ${place.state}`)
  must("nft", "add table inet banger_check")
  const { stdout } = await banger(place, ["net", "rm"])
  expect(stdout).toContain(`kept: veth bgrveveveve: process ${holder.pid} holds it`)
  expect(stdout).toContain("removed: table banger_check: a check was killed")
  expect(sh("ip", "link", "show", "bgrveveveve").exit).toBe(0)
  holder.kill("SIGKILL")
  await holder.exited
  // The kernel takes it away with its other end, which was in the holder's namespace.
  await until(() => sh("ip", "link", "show", "bgrveveveve").exit !== 0)
})

test("what banger did not make is not touched by net rm, and net takes only what it knows", async () => {
  must("ip", "tuntap", "add", "dev", "bgrxxxxxxxx", "mode", "tap")
  must("ip", "link", "add", "bgr9", "type", "bridge")
  expect((await banger(place, ["net", "rm"])).stdout).toBe("")
  expect((await banger(place, ["net", "rm", "bgr9"])).exit).toBe(1)
  for (const link of ["bgrxxxxxxxx", "bgr9"]) must("ip", "link", "delete", link)
  for (const words of [
    ["lss"],
    ["ls", "bgr0"],
    ["rm", "--to", "1.1.1.1"],
    ["check", "--to", "nowhere"],
    ["check", "--bridge", "br0", "--to", "192.0.2.2"],
    ["check", "--bridge", "br 0"],
    [],
  ]) {
    expect((await banger(place, ["net", ...words])).exit, words.join(" ")).toBe(2)
  }
})

test("a snapshot's guest goes on at its address, on a new tap, without a word of the plugin", async () => {
  const first = await up({ address: "10.213.0.9", mac: "02:00:00:00:00:09" }, "first")
  const dir = join(place.dir, "saved")
  expect(await banger(place, ["snapshot", "first", dir])).toMatchObject({ exit: 0 })
  await refused(boot(true, ["--name", "again", "--restore", dir]), "the address 10.213.0.9 is in use by the VM first-")
  await end(first)
  await refused(boot(false, ["--restore", dir]), "network: the guest of")
  await refused(boot({ bridge: "bgr1" }, ["--restore", dir]), "network.subnet: the guest of")
  const again = boot(true, ["--name", "again", "--restore", dir])
  await again.shows("runs as firecracker")
  const { leases } = JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout)
  expect(leases).toMatchObject([{ name: "again", address: "10.213.0.9", mac: "02:00:00:00:00:09" }])
  await end(again)
})
