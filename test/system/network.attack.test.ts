import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { tableName } from "../../src/host/network/names.ts"
import { fixture, start } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, type Doubles, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace } from "./support/place.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, setting, sh } from "./support/wire.ts"

// What others on the cable, and guests that play foul, try to reach. A port of the bridge that banger did not make plays
// a guest without rules of its own.

const newDirectory = directoriesOfFile()

let doubles: Doubles
let outside: Outside
let guest: Outside
beforeAll(async () => {
  doubles = buildDoubles(newDirectory())
  outside = await makeOutside()
  guest = await makeOutside({ link: "fake0", here: undefined, there: "10.213.0.66/16" })
})
afterAll(async () => {
  await outside.close()
  await guest.close()
})
beforeEach(beHost)
const place = eachInItsPlace()
afterEach(expectNoNetwork)

/** Runs a VM while `work` looks at it. */
async function whileUp(network: unknown, work: () => unknown, name = "fc"): Promise<void> {
  const spec = JSON.stringify({ network })
  const argv = ["run", "--name", name, fixture("firecracker"), "--", kernelOf(place.dir, "PRINT[up]"), spec]
  const run = start(place, argv, { ...doubles.env })
  await run.shows("runs as firecracker")
  try {
    await work()
  } finally {
    run.signal("SIGINT")
    await run.ended
  }
}

/** Lets a machine send to 127.0.0.1 of a neighbour. */
function unlearnLoopback(machine: Outside, neighbour: string): void {
  machine.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
  machine.run("ip", "address", "delete", "127.0.0.1/8", "dev", "lo")
  machine.run("ip", "route", "replace", "127.0.0.0/8", "via", neighbour)
}

const tries = (address: string, port: number) => ["timeout", "2", "busybox", "nc", "-w", "1", address, String(port)]

/** The table that banger's rules are in. */
const table = () => tableName(place.state)

/** How many packets to an address have come by one of netfilter's hooks since. */
function counted(hook: "input" | "postrouting", address: string): () => number {
  const name = `watched_${hook}_${address.replaceAll(".", "_")}`
  const chain = `{ type filter hook ${hook} priority 500; }`
  sh("nft", `delete table ip ${name}`)
  must(
    "nft",
    `add table ip ${name}; add chain ip ${name} seen ${chain}; add rule ip ${name} seen ip daddr ${address} counter`,
  )
  return () => Number(/packets (\d+)/.exec(must("nft", "list", "table", "ip", name))?.[1])
}

/** Those that have left this host for a guest. */
const watch = (address: string) => counted("postrouting", address)
/** Those that this host took for itself. */
const arrivals = (address: string) => counted("input", address)

/** A server of this host's loopback alone, while `work` runs. */
async function whileServed(work: () => unknown): Promise<void> {
  const script = 'Bun.serve({ hostname: "127.0.0.1", port: 9, fetch: () => new Response("secret") }); console.log("up")'
  const server = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stdin: "ignore" })
  try {
    await server.stdout.getReader().read()
    await work()
  } finally {
    server.kill("SIGKILL")
    await server.exited
  }
}

/** Lets the machine that plays a guest be a port of the bridge, while `work` runs. */
function whilePlugged(work: () => void): void {
  must("ip", "link", "set", "fake0", "master", "bgr0", "up")
  try {
    guest.run("ip", "neighbour", "flush", "all")
    expect(guest.run("busybox", "ping", "-c", "1", "-w", "4", "10.213.0.1").exit).toBe(0)
    work()
  } finally {
    must("ip", "link", "set", "fake0", "nomaster")
  }
}

const steals = () => guest.run("timeout", "2", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:9/").stdout

test("a port of 127.0.0.1 is out of reach for the neighbours of this host", async () => {
  setting("ipv4/ip_forward", "1")
  unlearnLoopback(outside, "192.0.2.1")
  await whileUp({ ports: ["127.0.0.1:2222:22", "8080:80"] }, () => {
    const seen = watch("10.213.0.2")
    outside.run(...tries("127.0.0.1", 2222))
    expect(seen()).toBe(0)
    const open = watch("10.213.0.2")
    outside.run(...tries("192.0.2.1", 8080))
    expect(open()).toBeGreaterThan(0)
  })
})

test.each([{ nat: false, isolate: false }, { nat: true }])(
  "with %p no guest reaches the host's loopback, also when all rules are flushed",
  (network) =>
    whileServed(() =>
      whileUp(network, () => {
        unlearnLoopback(guest, "10.213.0.1")
        whilePlugged(() => {
          expect(steals()).toBe("")
          must("nft", "flush", "ruleset")
          expect(steals()).toBe("")
        })
      }),
    ),
)

test("the way from 127.0.0.1 is open for a bridge only as long as a port there needs it, and no guest comes in by it", () =>
  whileServed(async () => {
    const loopback = () => must("cat", "/proc/sys/net/ipv4/conf/bgr0/route_localnet")
    unlearnLoopback(guest, "10.213.0.1")
    await whileUp({ ports: ["192.0.2.1:8080:80"] }, async () => {
      expect(loopback()).toBe("0\n")
      await whileUp(
        { ports: ["8081:80"] },
        () => {
          expect(loopback()).toBe("1\n")
          whilePlugged(() => expect(steals()).toBe(""))
        },
        "second",
      )
      expect(loopback()).toBe("0\n")
    })
  }))

test("a VM that needs no rules has them on a bridge where another does: it is reached from without, and held to its own", () =>
  whileUp({ nat: false, isolate: false }, async () => {
    expect(sh("nft", "list", "table", "bridge", table()).exit).not.toBe(0)
    await whileUp(
      true,
      () => {
        const rules = must("nft", "list", "table", "bridge", table())
        expect(rules.match(/"bgr\w{8}" \. 10\.213\.0\.[23]/g)).toHaveLength(2)
        setting("ipv4/ip_forward", "1")
        outside.run("ip", "route", "replace", "10.213.0.0/16", "via", "192.0.2.1")
        const [first, second] = [watch("10.213.0.2"), watch("10.213.0.3")]
        outside.run(...tries("10.213.0.2", 80))
        outside.run(...tries("10.213.0.3", 80))
        expect(first()).toBeGreaterThan(0)
        expect(second()).toBe(0)
      },
      "second",
    )
  }))

test("a guest asks a cloud's name server, and nothing else there, also where this host itself answers", async () => {
  must("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
  try {
    await whileUp(true, () =>
      whilePlugged(() => {
        guest.run("ip", "route", "replace", "default", "via", "10.213.0.1")
        const seen = arrivals("169.254.169.254")
        guest.run(...tries("169.254.169.254", 80))
        expect(seen()).toBe(0)
        guest.run(...tries("169.254.169.254", 53))
        expect(seen()).toBeGreaterThan(0)
      }),
    )
  } finally {
    must("ip", "address", "delete", "169.254.169.254/32", "dev", "lo")
  }
})
