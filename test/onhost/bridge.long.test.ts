import { afterEach, expect, test } from "bun:test"
import { eachOnHost, fixture, must, run, until } from "./support/host.ts"

// Filtering of VLANs: kernels that tests run on may lack it (CONFIG_BRIDGE_VLAN_FILTERING), Debian's has it.

// Before what looks whether anything is left.
afterEach(async () => {
  await run(
    "banger rm -f vlan; ip link delete br0; for id in 20 30; do ip link delete p$id; ip netns delete v$id; done; umount /run/netns",
  )
}, 60_000)
eachOnHost()

/** A bridge with a machine in VLAN 20 and one in VLAN 30, which have the same subnet. */
const NETWORK = `set -e
ip link add br0 address 02:aa:00:00:00:01 type bridge vlan_filtering 1
ip link set br0 up
for id in 20 30; do
  ip netns add v$id
  ip link add p$id type veth peer name eth0 netns v$id
  ip link set p$id master br0 up
  bridge vlan add dev p$id vid $id pvid untagged
  bridge vlan del dev p$id vid 1
  ip -n v$id address add 192.0.2.$id/24 dev eth0
  ip -n v$id link set eth0 up
done`

const ping = (from: string) => `ping -c 1 -W 3 ${from} > /dev/null`
const SCRIPT = [
  "ip link set eth0 up; ip addr flush dev eth0; ip addr add 192.0.2.7/24 dev eth0",
  `${ping("192.0.2.20")} && echo honest-reaches-20 || echo honest-misses-20`,
  `${ping("192.0.2.30")} && echo honest-reaches-30 || echo honest-misses-30`,
  "ip addr flush dev eth0; ip addr add 192.0.2.8/24 dev eth0",
  `${ping("192.0.2.20")} && echo thief-reaches-20 || echo thief-misses-20`,
  "ip addr flush dev eth0; ip addr add 192.0.2.7/24 dev eth0",
  "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; ip link set eth0 up",
  `${ping("192.0.2.20")} && echo stranger-reaches-20 || echo stranger-misses-20`,
  "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:11; ip link set eth0 up",
  "echo guest-is-up; sleep 600",
].join("; ")

test("on a bridge that filters VLANs a guest is in its own alone, and passes for no other; the bridge stays as it is", async () => {
  await must(NETWORK)
  const look = "bridge -c vlan show; ip -d -o link show master br0 | cut -d ' ' -f 2; cat /sys/class/net/br0/address"
  const before = await must(look)
  const spec = {
    ...{ accel: "auto", memory: "128M" },
    network: { bridge: "br0", vlan: 20, address: "192.0.2.7", mac: "02:00:00:00:00:11" },
  }
  const words = `--name vlan -- '${SCRIPT}' '${JSON.stringify(spec)}'`
  const started = await run(`banger run --detach ${fixture("guest")} ${words}`, { timeoutMs: 180_000 })
  expect(started).toMatchObject({ exit: 0 })
  await until("banger logs vlan | grep -q guest-is-up", 120_000)
  const [lease] = JSON.parse(await must("banger net ls --json")).leases
  expect(lease).toMatchObject({ bridge: "br0", vlan: 20, address: "192.0.2.7", subnet: null })
  const vlans = JSON.parse(await must(`bridge -j vlan show dev ${lease.interface}`))
  expect(vlans).toEqual([{ ifname: lease.interface, vlans: [{ vlan: 20, flags: ["PVID", "Egress Untagged"] }] }])
  const said = (await must("banger logs vlan")).match(/\b(?:honest|thief|stranger)-\w+-\d+/g)
  expect(said).toEqual(["honest-reaches-20", "honest-misses-30", "thief-misses-20", "stranger-misses-20"])
  // Nothing listens in the guest: who reaches it is told so by it.
  const connect = (id: number) => run(`ip netns exec v${id} timeout 10 bash -c ': < /dev/tcp/192.0.2.7/9'`)
  expect((await connect(20)).stderr).toContain("Connection refused")
  expect((await connect(30)).stderr).not.toContain("Connection refused")
  const check = "banger net check --bridge br0"
  expect(await run(check)).toMatchObject({ exit: 0, stdout: expect.stringContaining("in VLAN 20 alone") })
  await must(`bridge vlan add dev ${lease.interface} vid 30`)
  expect((await run(check)).stdout).toContain(`${lease.interface} is not in VLAN 20 alone: it is in 20, 30`)
  await must("banger rm -f vlan")
  expect(await must(look)).toBe(before)
}, 400_000)
