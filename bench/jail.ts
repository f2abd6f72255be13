import { mkdirSync, mkdtempSync, rmdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { S } from "../src/base/linux/constants.ts"
import { type HostPath, hostPath } from "../src/base/terms/path.ts"
import { stageLibraries } from "../src/host/jail/libraries.ts"
import { makeJail } from "../src/host/jail/makeJail.ts"
import { makeNode } from "../src/host/jail/nodes.ts"
import { stageFile } from "../src/host/jail/stageFile.ts"
import { tearDown } from "../src/host/jail/tearDown.ts"
import type { Benchmark, Contender } from "./compare.ts"
import { type Peer, startPeer } from "./peer.ts"

const OWNER = { uid: 1_900_000_001, gid: 1_900_000_001 }
/** A single jail takes a millisecond or two: its time would mostly tell what the other contender left in the caches. */
const IN_A_ROW = 5

const signal = new AbortController().signal

/**
 * What goes into a jail of the benchmark: a kernel and a disk bound read-only, a copied disk and program, a device node, two
 * library directories and a symlink.
 */
export interface Sources {
  readonly dir: string
  readonly base: HostPath
  readonly kernel: string
  readonly image: string
  readonly library: string
}

/** Against a shell that makes and removes the same jail with the commands that one would type. */
export function jail(): Benchmark {
  const sources = makeSources()
  const script = join(import.meta.dir, "jail.sh")
  const shell = [
    "sh",
    "-eu",
    script,
    join(sources.dir, "shell"),
    sources.kernel,
    sources.image,
    sources.library,
    String(OWNER.uid),
    sources.kernel,
  ]
  const own = ours(sources, "vm-1")
  return {
    name: "jail",
    about: `${IN_A_ROW} jails in a row, against a shell that runs mkdir, mount, cp, umount, rm …; at least 25 is the aim`,
    rounds: 20,
    ours: {
      label: "banger",
      async run() {
        for (let count = 0; count < IN_A_ROW; count++) await own.run()
      },
    },
    reference: {
      label: "shell",
      async run() {
        for (let count = 0; count < IN_A_ROW; count++) {
          const child = Bun.spawn(shell, { stdout: "ignore", stderr: "pipe" })
          if ((await child.exited) !== 0) throw new Error(await child.stderr.text())
        }
      },
    },
    dispose: () => remove(sources),
  }
}

/** Against a C program that makes the same system calls, with other jails present. */
export function jailAgainstC(present: number): Benchmark {
  const sources = makeSources()
  const program = buildC(sources)
  const others = Array.from({ length: present - 1 }, (_, index) => `other-${index}`)
  const inodes = new Map<string, string>()
  let made: Promise<void> | undefined
  const peer = startPeer([program, ...argumentsOf(sources, "c-1")])
  const own = ours(sources, "vm-1")
  return {
    name: present === 1 ? "jail-c" : `jail-c-${present}`,
    about: `the same, with ${present} jails present, against a C program that makes the same system calls; at least 0.33 is the aim`,
    rounds: 50,
    ours: {
      label: own.label,
      async run() {
        made ??= stageAll(sources, others, inodes)
        await made
        await own.run()
      },
    },
    reference: { label: "C", run: () => peer.round() },
    dispose() {
      peer.end()
      for (const [id, inode] of inodes) tearDown({ base: sources.base, vmm: "qemu", id }, inode)
      remove(sources)
    },
  }
}

/** Ten jails at once, each in a process of its own, against ten C programs at once. */
export function jailsInParallel(): Benchmark {
  const sources = makeSources()
  const program = buildC(sources)
  const worker = [process.execPath, join(import.meta.dir, "jailWorker.ts")]
  const ten = (argv: readonly string[], name: string) =>
    Array.from({ length: 10 }, (_, index) => startPeer([...argv, ...argumentsOf(sources, `${name}-${index}`)]))
  const [bangers, programs] = [ten(worker, "b"), ten([program], "c")]
  const all = (peers: readonly Peer[]) => async () => void (await Promise.all(peers.map((peer) => peer.round())))
  return {
    name: "jail-parallel",
    about: "ten jails at once, by ten processes, against ten C programs at once; at least 0.33 is the aim",
    rounds: 30,
    ours: { label: "banger", run: all(bangers) },
    reference: { label: "C", run: all(programs) },
    dispose() {
      for (const peer of [...bangers, ...programs]) peer.end()
      remove(sources)
    },
  }
}

/** Stages a jail, and returns its root's inode. */
export async function stage({ base, kernel, image, library }: Omit<Sources, "dir">, id: string): Promise<string> {
  let inode = ""
  const jail = makeJail({ base, vmm: "qemu", id }, OWNER, (root) => {
    inode = root
  })
  await stageFile(jail, "kernel", kernel, { readonly: true, way: undefined, signal })
  await stageFile(jail, "rootfs", kernel, { readonly: true, way: undefined, signal })
  await stageFile(jail, "drive", image, { readonly: false, way: undefined, signal })
  makeNode(jail, "dev/disk", { type: S.IFBLK, rdev: "7:250" })
  await stageFile(jail, "vmm", kernel, { readonly: false, way: "copy", signal })
  stageLibraries(jail, [
    { path: "/usr/lib", is: "directory", from: library },
    { path: "/usr/lib64", is: "directory", from: library },
    { path: "/lib", is: "symlink", to: "usr/lib" },
  ])
  jail.place()
  jail.close()
  return inode
}

// --- internal ---

function ours(sources: Sources, id: string): Contender {
  return {
    label: "banger",
    async run() {
      const inode = await stage(sources, id)
      tearDown({ base: sources.base, vmm: "qemu", id }, inode)
    },
  }
}

async function stageAll(sources: Sources, ids: readonly string[], inodes: Map<string, string>): Promise<void> {
  for (const id of ids) inodes.set(id, await stage(sources, id))
}

function argumentsOf({ base, kernel, image, library }: Sources, id: string): readonly string[] {
  return [base, id, kernel, image, library, String(OWNER.uid)]
}

function makeSources(): Sources {
  if (process.geteuid?.() !== 0) throw new Error("jails are root's: run this benchmark as root")
  const dir = mkdtempSync("/var/tmp/banger-bench-")
  // In memory, so that the disk is not measured; in a mount namespace of its own (scripts/bench).
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "mode=711", "none", dir])
  if (mounted.exitCode !== 0) throw new Error(mounted.stderr.toString())
  const sources = {
    dir,
    base: hostPath(join(dir, "jail")),
    kernel: join(dir, "kernel"),
    image: join(dir, "image"),
    library: join(dir, "lib"),
  }
  writeFileSync(sources.kernel, new Uint8Array(64 * 1024).fill(1), { mode: 0o644 })
  writeFileSync(sources.image, new Uint8Array(64 * 1024).fill(1), { mode: 0o600 })
  mkdirSync(sources.library)
  mkdirSync(join(dir, "shell"))
  return sources
}

function remove({ dir }: Sources): void {
  Bun.spawnSync(["umount", "--lazy", dir])
  rmdirSync(dir)
}

function buildC({ dir }: Sources): string {
  const program = join(dir, "jail-c")
  const built = Bun.spawnSync(["cc", "-O2", "-o", program, join(import.meta.dir, "jail.c")])
  if (built.exitCode !== 0) throw new Error(`jail.c cannot be compiled: ${built.stderr.toString()}`)
  return program
}
