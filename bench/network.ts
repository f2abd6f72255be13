import { readFileSync } from "node:fs"
import { findLink } from "../src/base/linux/links.ts"
import { withRoute } from "../src/base/linux/rtnetlink.ts"
import { ensureBridge, removeBridge } from "../src/host/network/bridge.ts"
import { makeTap, removeTap } from "../src/host/network/tap.ts"
import type { Benchmark } from "./compare.ts"

const OWNER = "/var/lib/banger-bench"
const USER = { uid: 1_900_000_001, gid: 1_900_000_001 }
const BRIDGE = "bgr0"
const SUBNET = { base: 0x0ad5_0000, prefix: 16 }
const [OURS, THEIRS] = ["bgrbench001", "bgrbench002"]

/** The commands that make a VM's tap on an existing bridge. */
const MAKE = [
  `link show dev ${BRIDGE}`,
  `address show dev ${BRIDGE}`,
  `tuntap add dev ${THEIRS} mode tap vnet_hdr user ${USER.uid} group ${USER.gid}`,
  `link set dev ${THEIRS} alias banger-bench`,
  `link set dev ${THEIRS} master ${BRIDGE}`,
  `link set dev ${THEIRS} type bridge_slave isolated on`,
  `link set dev ${THEIRS} up`,
]
const DELETE = [`tuntap delete dev ${THEIRS} mode tap`, `link show`]

/** Making a tap, against the `ip` commands that one would type. */
export function network(): Benchmark {
  return setup("network", "the same `ip` commands, one after the other; at least 3 is the aim", commands(MAKE))
}

/** Making a tap, against one `ip` that gets all the commands at once. */
export function networkBatch(): Benchmark {
  return setup("network-batch", "one `ip -batch` of the same commands", batch(MAKE))
}

/** Removing a tap: most of the time the kernel waits (RCU grace periods). */
export function networkDelete(): Benchmark {
  const reset = prepare()
  const reference = commands(DELETE)
  return {
    name: "network-delete",
    about: "a tap removed and looked for again, against `ip` commands; the kernel takes most of the time",
    rounds: 30,
    ours: { label: "banger", prepare: makeOurs, run: async () => deleteOurs() },
    reference: { label: "ip", prepare: batch(MAKE), run: reference },
    dispose: reset,
  }
}

// --- internal ---

function setup(name: string, against: string, reference: () => Promise<void>): Benchmark {
  const reset = prepare()
  return {
    name,
    about: `bridge looked at, tap made, owned, marked, isolated, attached and up, against ${against}`,
    rounds: 40,
    ours: { label: "banger", run: async () => makeOurs(), finish: async () => deleteOurs() },
    reference: { label: "ip", run: reference, finish: batch([DELETE[0] ?? ""]) },
    dispose: reset,
  }
}

/** Makes the bridge that both contenders use. */
function prepare(): () => void {
  const links = readFileSync("/proc/self/net/dev", "utf8").split("\n").slice(2, -1)
  if (links.length > 1)
    throw new Error("this benchmark makes interfaces: run it by scripts/bench, in a network namespace of its own")
  withRoute((route) => ensureBridge(route, { name: BRIDGE, subnet: SUBNET, ipv6: false, owner: OWNER, mtu: undefined }))
  return () => withRoute((route) => removeBridge(route, BRIDGE, OWNER))
}

function makeOurs(): void {
  withRoute((route) => {
    const plan = { name: BRIDGE, subnet: SUBNET, ipv6: false, owner: OWNER, mtu: undefined }
    const { index: bridge, mtu } = ensureBridge(route, plan)
    makeTap(route, {
      name: OURS,
      vm: "bench-00000001",
      owner: OWNER,
      user: USER,
      bridge,
      isolated: true,
      onlyMac: undefined,
      mtu,
    })
  })
}

function deleteOurs(): void {
  withRoute((route) => {
    removeTap(route, OURS, { owner: OWNER })
    if (findLink(route, OURS) !== undefined) throw new Error(`${OURS} is still there`)
  })
}

function commands(lines: readonly string[]): () => Promise<void> {
  const script = lines.map((line) => `ip ${line} > /dev/null`).join("\n")
  return () => finished(["sh", "-eu", "-c", script])
}

function batch(lines: readonly string[]): () => Promise<void> {
  return () => finished(["ip", "-batch", "-"], lines.join("\n"))
}

async function finished(argv: readonly string[], input = ""): Promise<void> {
  const child = Bun.spawn([...argv], { stdin: Buffer.from(input), stdout: "ignore", stderr: "pipe" })
  if ((await child.exited) !== 0) throw new Error(`${argv.join(" ")}: ${await child.stderr.text()}`)
}
