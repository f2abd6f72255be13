import { expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { requireOwnNamespaces } from "./namespace.ts"

/** What a command said and how it ended. */
export interface Said {
  readonly stdout: string
  readonly stderr: string
  readonly exit: number
}

/** Another machine at the other end of a cable to this one; by default 192.0.2.2, and this is 192.0.2.1 on `out0`. */
export interface Outside {
  /** Runs a command there. */
  run(...argv: readonly string[]): Said
  /** Starts one there; it ends with the machine. */
  start(...argv: readonly string[]): Bun.Subprocess<"ignore", "pipe", "inherit">
  close(): Promise<void>
}

/** Runs a command in this network namespace. */
export function sh(...argv: readonly string[]): Said {
  const { stdout, stderr, exitCode } = Bun.spawnSync([...argv], { stdin: "ignore", timeout: 30_000 })
  return { stdout: stdout.toString(), stderr: stderr.toString(), exit: exitCode ?? -1 }
}

/** Runs a command that must work. */
export function must(...argv: readonly string[]): string {
  const { stdout, stderr, exit } = sh(...argv)
  if (exit !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`)
  return stdout
}

/** Brings up what every host has, in the namespace of the tests. */
export function beHost(): void {
  requireOwnNamespaces()
  must("ip", "link", "set", "lo", "up")
  setting("ipv4/ip_forward", "0")
}

/** Sets a setting of this network namespace. */
export function setting(name: string, value: string): void {
  requireOwnNamespaces()
  writeFileSync(`/proc/sys/net/${name}`, value)
}

/** The cable to another machine: its end on this host, and the addresses of both ends. */
export interface Cable {
  readonly link: string
  readonly here: string | undefined
  readonly there: string
}

/** Makes another machine, in a network namespace of its own that ends with it. */
export async function makeOutside(
  { link, here, there: address }: Cable = { link: "out0", here: "192.0.2.1/24", there: "192.0.2.2/24" },
): Promise<Outside> {
  requireOwnNamespaces()
  const keeper = Bun.spawn(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 1000"], {
    stdout: "pipe",
    stdin: "ignore",
  })
  const started: Bun.Subprocess[] = []
  await keeper.stdout.getReader().read()
  const there = ["nsenter", "--net", "--target", String(keeper.pid)]
  must("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", String(keeper.pid))
  if (here !== undefined) must("ip", "address", "add", here, "dev", link)
  must("ip", "link", "set", link, "up")
  must(...there, "ip", "address", "add", address, "dev", "eth0")
  for (const own of ["lo", "eth0"]) must(...there, "ip", "link", "set", own, "up")
  return {
    run: (...argv) => sh(...there, ...argv),
    start(...argv) {
      const child = Bun.spawn([...there, ...argv], { stdin: "ignore", stdout: "pipe", stderr: "inherit" })
      started.push(child)
      return child
    },
    async close() {
      for (const child of [...started, keeper]) child.kill("SIGKILL")
      await Promise.all([...started, keeper].map((child) => child.exited))
      sh("ip", "link", "delete", link)
    },
  }
}

/** Asserts that nothing of banger's is left in this namespace: no link, no address, no rule. */
export function expectNoNetwork(): void {
  const links = must("ip", "-o", "link").match(/\bbgr[^:@ ]*(?=[:@])/g) ?? []
  try {
    expect(links).toEqual([])
    expect(must("ip", "-o", "address")).not.toContain("bgr")
    expect(must("ip", "route")).not.toContain("bgr")
    expect(must("nft", "list", "tables")).not.toContain("banger")
  } finally {
    // What a failed test has left is not the next one's.
    for (const link of links) sh("ip", "link", "delete", link)
    sh("nft", "flush", "ruleset")
  }
}
