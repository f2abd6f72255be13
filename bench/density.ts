import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { findReal } from "../test/real.ts"
import { tinyGuest } from "../test/tinyGuest.ts"

// What a detached VM costs that does nothing: memory of its supervisor and VMM, processor time, and the time of starting,
// listing and stopping many. Words: how many VMs (200), how many idle seconds (60).

const COUNT = Number(process.argv[2] ?? 200)
const IDLE_SECONDS = Number(process.argv[3] ?? 60)

/** What a VM and its supervisor take, with room to spare; fewer VMs where memory is short. */
const VM_BYTES = 16 << 20

const TICKS_A_SECOND = 100
const LISTINGS = 5

const real = findReal()
if (typeof real === "string") {
  console.error(`density needs the real Firecracker: ${real}`)
  process.exit(2)
}
const dir = mkdtempSync(join(tmpdir(), "banger-density-"))
const banger = join(import.meta.dir, "../dist/banger")
const env = {
  ...process.env,
  PATH: `${dirname(real.firecracker)}:${process.env.PATH}`,
  BANGER_STATE_DIR: join(dir, "state"),
  BANGER_RUNTIME_DIR: join(dir, "run"),
}
writeFileSync(join(dir, "vmlinux"), tinyGuest("PRINT[up] DEAF"))
writeFileSync(
  join(dir, "plugin.ts"),
  `import { definePlugin } from "banger"
export default definePlugin({
  kernel: "vmlinux", vmm: "firecracker", memory: "16M", timeouts: { stop: "1s" },
  async preBoot(ctx) { ctx.drives.add({ id: "job", path: await ctx.stage.write("job.sh", "#!/bin/sh\\n"), readonly: true }) },
  postBoot(ctx) { ctx.log.info(\`\${ctx.vm.vmm} runs as process \${ctx.vm.pid}\`) },
  postStop(ctx) { ctx.log.info(\`the VM ended: \${ctx.exit.reason}\`) },
})\n`,
)

const available = Number(/^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]) * 1024
const count = Math.min(COUNT, Math.floor(available / VM_BYTES))
const parallel = navigator.hardwareConcurrency * 2
try {
  let next = 0
  const starting = await seconds(() =>
    inParallel(() => (next < count ? run("run", "-d", join(dir, "plugin.ts"), "--name", `d${next++}`) : undefined)),
  )
  const listed: { id: string; pid: number; supervisor: number }[] = JSON.parse(await run("ps", "--json"))
  // The last ones come to rest.
  await Bun.sleep(2000)
  const odd = listed.filter(({ pid, supervisor }) => pid === undefined || supervisor === undefined)
  if (odd.length > 0) throw new Error(`VMs without a supervisor or VMM: ${await lastWords(odd)}`)
  const supervisors = listed.map(({ supervisor }) => supervisor)
  const vmms = listed.map(({ pid }) => pid)
  const before = [ticksOf(supervisors), ticksOf(vmms), switchesOf(supervisors)] as const
  await Bun.sleep(IDLE_SECONDS * 1000)
  const after = [ticksOf(supervisors), ticksOf(vmms), switchesOf(supervisors)] as const
  const idle = (index: 0 | 1) => ((((after[index] - before[index]) / TICKS_A_SECOND) * 1000) / listed.length).toFixed(2)
  const listings: number[] = []
  for (let round = 0; round < LISTINGS; round++) listings.push(await seconds(() => run("ps", "--json")))
  const memory = [pssOf(supervisors), pssOf(vmms), threadsOf(supervisors)] as const
  const inotify = watchesOf(supervisors)
  const stopping = await seconds(() => run("stop", "--all"))
  const left = JSON.parse(await run("ps", "--json")).length
  if (left > 0) throw new Error(`${left} VMs were not stopped`)
  console.log(`VMs: ${listed.length}
supervisor: ${memory[0].toFixed(2)} MiB PSS, ${memory[2].toFixed(1)} threads, ${(switched(before[2], after[2]) / listed.length).toFixed(1)} context switches and ${idle(0)} ms of CPU in ${IDLE_SECONDS} idle seconds
VMM: ${memory[1].toFixed(2)} MiB PSS, ${idle(1)} ms of CPU
starts: ${(listed.length / starting).toFixed(1)} a second, ${parallel} at a time
stops: ${(listed.length / stopping).toFixed(1)} a second, in one command; each guest is given a second
ps: ${(Math.min(...listings) * 1000).toFixed(0)} ms, the fastest of ${LISTINGS}
logs that are watched, not polled: of ${inotify} VMs`)
} finally {
  // Where something went wrong, the VMs still run.
  await run("kill", "--all").catch(() => "")
  rmSync(dir, { recursive: true, force: true })
}

// --- internal ---

async function run(...words: readonly string[]): Promise<string> {
  const child = Bun.spawn([banger, ...words], { stdin: "ignore", stdout: "pipe", stderr: "pipe", env })
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()])
  if ((await child.exited) !== 0) throw new Error(`banger ${words.join(" ")} failed: ${stderr.slice(0, 2000)}`)
  return stdout
}

async function lastWords(vms: readonly { id: string }[]): Promise<string> {
  const said = vms.map(async ({ id }) => `${id}: ${await run("logs", "--supervisor", id)}`)
  return (await Promise.all(said)).join("\n")
}

async function inParallel(take: () => Promise<unknown> | undefined): Promise<void> {
  const worker = async () => {
    for (let work = take(); work !== undefined; work = take()) await work
  }
  await Promise.all(Array.from({ length: parallel }, worker))
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

function mean(pids: readonly number[], of: (pid: number) => number): number {
  return pids.reduce((sum, pid) => sum + of(pid), 0) / pids.length
}

function pssOf(pids: readonly number[]): number {
  const kib = (pid: number) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1])
  return mean(pids, kib) / 1024
}

/** How many have an inotify instance. */
function watchesOf(pids: readonly number[]): number {
  const has = (pid: number) =>
    readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === "anon_inode:inotify")
  return pids.filter(has).length
}

function threadsOf(pids: readonly number[]): number {
  return mean(pids, (pid) => readdirSync(`/proc/${pid}/task`).length)
}

/** Processor time by now, in clock ticks. */
function ticksOf(pids: readonly number[]): number {
  const ticks = (pid: number) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? []
    return Number(fields[11]) + Number(fields[12])
  }
  return pids.reduce((sum, pid) => sum + ticks(pid), 0)
}

/** How often each thread of these processes was put to sleep or aside by now. */
function switchesOf(pids: readonly number[]): ReadonlyMap<string, number> {
  const threads = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/task`).map((thread) => `/proc/${pid}/task/${thread}/status`),
  )
  return new Map(
    threads.map((path) => {
      const counts = [...readFileSync(path, "utf8").matchAll(/ctxt_switches:\s*(\d+)/g)]
      return [path, counts.reduce((sum, [, times]) => sum + Number(times), 0)]
    }),
  )
}

/** The switches between two looks, of the threads that were there at both. */
function switched(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): number {
  return [...after].reduce((sum, [thread, times]) => sum + times - (before.get(thread) ?? times), 0)
}
