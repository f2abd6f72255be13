import { readdirSync, readFileSync } from "node:fs"
import * as v from "valibot"
import { bootTimeMs } from "../../base/linux/clock.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { readAll, writeAll } from "../../base/linux/content.ts"
import { isType, openAt, statDescriptor, statPath, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { replaceFileBy } from "../../store/files/replaceFile.ts"
import { selfArgv } from "../process/self.ts"

const triedSchema = v.variant("is", [
  v.strictObject({ is: v.literal("works") }),
  v.strictObject({ is: v.literal("fails"), words: v.string() }),
  v.strictObject({ is: v.literal("unknown"), words: v.string() }),
])

/** What came of running a guest by KVM. */
export type Tried = Readonly<v.InferOutput<typeof triedSchema>>

/** The hidden command by which banger runs the guest in a process of its own: prints a line before the guest runs, and at its end a `Tried` as JSON. */
export const PROBE_COMMAND = "__kvm"

/**
 * Whether a stock kernel would boot by /dev/kvm, found out by running a tiny guest in a process of its own, which takes some
 * milliseconds and at most one and a half seconds. `file` keeps the answer until the host boots again or loads another KVM; that
 * the guest did not come back, which a busy host can be to blame for, it keeps for ten minutes; who only looks writes no file. Throws nothing.
 */
export async function tryGuest(file: string, asker: "start" | "look" = "start"): Promise<Tried> {
  if (process.arch !== "x64") return { is: "unknown", words: `there is no guest to try for ${process.arch}` }
  const host = attempt(identity)
  const kept = attempt(() => readKept(file))
  if (kept !== undefined && kept.host === host && isFresh(kept)) {
    return kept.tried
  }
  const tried = await runChild()
  if (asker === "look" || tried.is === "unknown" || host === undefined) return tried
  const untilMs = tried === HUNG ? bootTimeMs() + HUNG_KEPT_MS : undefined
  // Nothing is lost where it cannot be kept: there may be no state directory yet, or no room.
  attempt(() => keep(file, { host, tried, untilMs }))
  return tried
}

// --- internal ---

const keptSchema = v.strictObject({
  host: v.string(),
  tried: triedSchema /** By `bootTimeMs`: the boot is the host's. */,
  untilMs: v.optional(v.number()),
})
type Kept = Readonly<v.InferOutput<typeof keptSchema>>

const KEPT_MAX_BYTES = 4096

/** What the process that tries has to start, and the guest then to come back. */
const START_WAIT_MS = 10_000
const PROBE_WAIT_MS = 1500
const HUNG_KEPT_MS = 600_000
const HUNG: Tried = {
  is: "fails",
  words: `a guest that should take a millisecond has not come back after ${PROBE_WAIT_MS}`,
}

/** An answer that is kept for a while is kept by the time since the boot, which nobody sets. */
function isFresh({ untilMs }: Kept): boolean {
  const leftMs = (untilMs ?? Number.NaN) - bootTimeMs()
  return untilMs === undefined || (leftMs > 0 && leftMs <= HUNG_KEPT_MS)
}

/** The version of the probe: another may find otherwise. */
const PROBE = "2"

/** What an answer is about: this boot of the host, its KVM, and how it was tried. */
function identity(): string {
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()
  const modules = readdirSync("/sys/module").filter((name) => /^kvm(?:_|$)/.test(name))
  return [PROBE, boot, statPath("/dev/kvm").rdev, ...modules.sort()].join(" ")
}

function readKept(file: string): Kept {
  return withDescriptor(openAt(AT_FDCWD, file, O.RDONLY | O.NONBLOCK | O_NOFOLLOW), (fd) => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFREG) || stat.uid !== process.geteuid?.()) throw new Error(`${file} is not ours`)
    return v.parse(keptSchema, JSON.parse(new TextDecoder().decode(readAll(fd, KEPT_MAX_BYTES))))
  })
}

/** After a loss of power the host has booted again, and the answer is void: it need not reach the disk. */
function keep(file: string, kept: Kept): void {
  replaceFileBy(file, (fd) => writeAll(fd, new TextEncoder().encode(JSON.stringify(kept))))
}

/** A process that is slow to start is not blamed on KVM: the guest's time begins when the process says that it runs it. */
async function runChild(): Promise<Tried> {
  try {
    const child = Bun.spawn([...selfArgv(), PROBE_COMMAND], { stdio: ["ignore", "pipe", "ignore"], env: {}, cwd: "/" })
    const { promise: late, resolve } = Promise.withResolvers<Tried>()
    const giveUp = (after: Tried, waitMs: number) =>
      setTimeout(() => {
        resolve(after)
        child.kill("SIGKILL")
        // One that is stuck in the kernel does not die: nobody waits for it.
        child.unref()
      }, waitMs)
    let timer = giveUp({ is: "unknown", words: "the process that tries does not start" }, START_WAIT_MS)
    const begun = () => {
      clearTimeout(timer)
      timer = giveUp(HUNG, PROBE_WAIT_MS)
    }
    return await Promise.race([late, readTried(child.stdout, begun)]).finally(() => clearTimeout(timer))
  } catch (error) {
    return { is: "unknown", words: `a guest could not be tried: ${messageOf(error)}` }
  }
}

/** What the process says: a line before the guest runs, and what came of it. */
async function readTried(stdout: ReadableStream<Uint8Array>, begun: () => void): Promise<Tried> {
  const decoder = new TextDecoder()
  let text = ""
  for await (const chunk of stdout) {
    if (text === "") begun()
    text += decoder.decode(chunk, { stream: true })
  }
  const [tried = ""] = text.trimEnd().split("\n").slice(-1)
  return v.parse(v.pipe(v.string(), v.parseJson(), triedSchema), tried)
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}
