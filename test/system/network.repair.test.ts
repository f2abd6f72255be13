import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test"
import { banger, type Running, startGuest } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { beHost, expectNoNetwork, makeOutside, must, type Outside, setting, sh } from "./support/wire.ts"

// What others take away, or change, of a running VM's network: it is told of, and put back while the VM runs.

let outside: Outside
beforeAll(async () => {
  outside = await makeOutside()
})
afterAll(() => outside.close())
beforeEach(() => {
  beHost()
  setting("ipv4/ip_forward", "1")
})
const place = eachInItsPlace()
afterEach(expectNoNetwork)

const web =
  "mkdir -p /tmp/w; echo from-the-guest > /tmp/w/index.html; httpd -p 80 -h /tmp/w; echo guest-is-up; sleep 600"
const get = (...through: readonly string[]) =>
  sh(...through, "timeout", "5", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").stdout

async function up(network: object = {}): Promise<{ readonly run: Running; readonly tap: string }> {
  const run = startGuest(place, web, { network: { ports: ["8080:80"], ...network } })
  await run.shows("guest-is-up")
  expect(get()).toBe("from-the-guest\n")
  return { run, tap: `bgr${records(place)[0]?.id.slice(-8)}` }
}

async function end({ run }: { readonly run: Running }): Promise<void> {
  run.signal("SIGINT")
  expect(await run.ended).toMatchObject({ exit: 130 })
}

const CHANGES: readonly (readonly [string, (tap: string) => unknown, string])[] = [
  ["the bridge is deleted", () => must("ip", "link", "delete", "bgr0"), "the bridge bgr0 is gone"],
  ["its port is taken off", (tap) => must("ip", "link", "set", tap, "nomaster"), "is no port of bgr0"],
  [
    "its port is put elsewhere",
    (tap) => {
      must("ip", "link", "add", "br9", "type", "bridge")
      must("ip", "link", "set", tap, "master", "br9")
    },
    "is no port of bgr0",
  ],
  ["the bridge is down", () => must("ip", "link", "set", "bgr0", "down"), "the bridge bgr0 is down"],
  ["its port is down", (tap) => must("ip", "link", "set", tap, "down"), "is down"],
  [
    "the addresses are flushed",
    () => must("ip", "address", "flush", "dev", "bgr0"),
    "the bridge bgr0 has lost its address",
  ],
  [
    "the neighbours are flushed",
    () => must("ip", "neighbour", "flush", "dev", "bgr0", "nud", "permanent"),
    "neighbour entry of its address is gone",
  ],
  ["the rules are flushed", () => must("nft", "flush", "ruleset"), "its rules are gone"],
  [
    "one table is deleted",
    () => must("sh", "-c", "nft list tables | sed -n 's/^table bridge/delete table bridge/p' | nft -f -"),
    "its rules are gone",
  ],
  ["a setting is switched off", () => setting("ipv4/conf/bgr0/route_localnet", "0"), "route_localnet is off"],
  [
    "its port is renamed",
    (tap) => must("sh", "-c", `ip link set ${tap} down && ip link set ${tap} name lan7 up`),
    "is called lan7",
  ],
]

test.each(CHANGES)(
  "when %s, net check tells, and net rm or a sweep puts it back under the VM",
  async (...[what, change, told]) => {
    const vm = await up()
    try {
      change(vm.tap)
      const [status] = JSON.parse((await banger(place, ["ps", "--json"])).stdout)
      expect({ what, ...status }).toMatchObject({
        liveness: "alive",
        why: expect.stringContaining(told),
        hint: "banger net rm",
      })
      const { checks } = JSON.parse((await banger(place, ["doctor", "--json"])).stdout)
      expect(checks.find(({ id }: { id: string }) => id === "networks")).toMatchObject({
        is: "warn",
        says: expect.stringContaining(told),
        hint: "banger net rm",
      })
      const check = await banger(place, ["net", "check", "--to", "192.0.2.2"])
      expect({ what, ...check }).toMatchObject({ exit: 1, stdout: expect.stringContaining(told) })
      expect(check.stdout).toContain("banger net rm puts it back")
      expect(await banger(place, ["net", "rm"])).toMatchObject({ exit: 0 })
      expect(get()).toBe("from-the-guest\n")
      expect((await banger(place, ["net", "check", "--to", "192.0.2.2"])).stdout).not.toContain("is whole")
      sh("ip", "link", "delete", "br9")
      change(vm.tap)
      expect(await banger(place, ["sweep"])).toMatchObject({ exit: 0, stderr: expect.stringContaining(told) })
      expect(get()).toBe("from-the-guest\n")
      expect(JSON.parse((await banger(place, ["ps", "--json"])).stdout)[0].why).toBeUndefined()
      sh("ip", "link", "delete", "br9")
    } finally {
      await end(vm)
    }
  },
)

test("a tap that is deleted cannot be put back: a restart is named; what is renamed goes with its VM all the same", async () => {
  const first = await up()
  must("ip", "link", "delete", first.tap)
  const { stdout } = await banger(place, ["net", "check", "--to", "192.0.2.2"])
  expect(stdout).toContain(`its interface ${first.tap} is gone: banger restart guest-`)
  await end(first)
  const second = await up()
  must("ip", "link", "set", second.tap, "down")
  must("ip", "link", "set", second.tap, "name", "mine0")
  must("ip", "link", "set", "mine0", "up")
  // Nothing is let through by a port that no rule knows.
  expect(get()).toBe("")
  expect((await banger(place, ["net", "rm", "--dry-run"])).stdout).not.toContain("mine0")
  await end(second)
  expect(sh("ip", "link", "show", "mine0").exit).not.toBe(0)
})

test.each([
  ["a cable", ["ip", "link", "add", "lan7", "type", "veth", "peer", "name", "far7"]],
  ["another tap", ["ip", "tuntap", "add", "dev", "lan7", "mode", "tap"]],
] as const)("%s of another program on banger's bridge is told of, reaches no guest, and stays", async (_, add) => {
  const vm = await up()
  try {
    must(...add)
    must("ip", "link", "set", "lan7", "master", "bgr0", "up")
    const told = "lan7 is a port of bgr0 that is no VM's"
    const { checks } = JSON.parse((await banger(place, ["doctor", "--json"])).stdout)
    const finding = checks.find(({ id }: { id: string }) => id === "networks")
    expect(finding.says).toContain(told)
    expect(finding).toMatchObject({ is: "warn", hint: "ip link set lan7 nomaster" })
    const check = await banger(place, ["net", "check", "--to", "192.0.2.2"])
    expect(check.stdout).toContain(`${told}: `)
    expect(check.exit).toBe(1)
    expect(get()).toBe("from-the-guest\n")
    expect((await banger(place, ["sweep"])).exit).toBe(0)
    expect((await banger(place, ["net", "rm"])).exit).toBe(0)
    expect(must("ip", "link", "show", "lan7")).toContain("master bgr0")
  } finally {
    await end(vm)
  }
  // The bridge stays for it; the command that was named takes it off, and then the bridge can go.
  expect(must("ip", "link", "show", "lan7")).toContain("master bgr0")
  const after = await banger(place, ["net", "check", "--to", "192.0.2.2"])
  expect(after.stdout).toContain("lan7 is a port of bgr0")
  must("ip", "link", "set", "lan7", "nomaster")
  expect((await banger(place, ["net", "check", "--to", "192.0.2.2"])).stdout).not.toContain("lan7")
  await banger(place, ["net", "rm"])
  must("ip", "link", "delete", "lan7")
})
