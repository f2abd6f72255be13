// The Debian host that ./scripts/host booted for this run of the tests: one for all files, with this repository's binary, guest
// image and plugins in /mnt, in the places that they have in the repository.
import { afterEach, beforeAll, beforeEach, expect } from "bun:test"
import { join } from "node:path"
import { LEFT, TRACES } from "./traces.ts"

/** What a command in the host said, and how it ended. */
export interface Ran {
  readonly stdout: string
  readonly stderr: string
  readonly exit: number | null
}

/** How a command is run in the host. */
export interface Manner {
  /** Default: root. */
  readonly user?: "root" | "alice"
  readonly stdin?: string | Uint8Array
  /** A login of its own, which ends with the command; else all commands of a user are of one. Costs a second or two. */
  readonly login?: boolean
  /** Default: 90 s. */
  readonly timeoutMs?: number
}

/** Where the host keeps this repository's files. */
export const GIVEN = "/mnt"

/** Fixture plugins, as the host sees them. */
export const fixture = (name: string) => `${GIVEN}/test/fixtures/plugins/${name}.ts`

/** Runs a command of the host's shell. Rejects when it takes too long, or the host cannot be reached. */
export async function run(
  command: string,
  { user = "root", stdin = "", login = false, timeoutMs = 90_000 }: Manner = {},
): Promise<Ran> {
  const config = join(directory(), "ssh_config")
  const own = login ? ["-o", "ControlPath=none"] : []
  const child = Bun.spawn(["ssh", "-F", config, ...own, `${user}@host`, command], {
    stdin: new TextEncoder().encode(typeof stdin === "string" ? stdin : new TextDecoder("latin1").decode(stdin)),
    stdout: "pipe",
    stderr: "pipe",
    timeout: timeoutMs,
  })
  const begunAt = performance.now()
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()])
  await child.exited
  const ran = { stdout, stderr, exit: child.exitCode }
  // ssh ends with 255 when it is ended.
  if (child.signalCode !== null || (child.exitCode === 255 && performance.now() - begunAt > timeoutMs))
    throw new Error(`${command} took more than ${timeoutMs} ms:\n${stdout}${stderr}`)
  // ssh's own failure; a command that ends with 255 is none of these tests'.
  if (child.exitCode === 255) throw new Error(`no connection to the host: ${stderr}`)
  return ran
}

/** Runs a command that must succeed; resolves to what it printed. */
export async function must(command: string, manner?: Manner): Promise<string> {
  const { stdout, stderr, exit } = await run(command, manner)
  if (exit !== 0) throw new Error(`${command} ended with ${exit}:\n${stdout}${stderr}`)
  return stdout
}

/** Writes a file of the host. */
export async function put(path: string, content: string | Uint8Array, manner: Manner = {}): Promise<void> {
  await must(`mkdir -p "$(dirname ${path})" && cat > ${path}`, { ...manner, stdin: content })
}

/** Resolves when a command succeeds; rejects when it did not in this time. */
export async function until(command: string, timeoutMs = 30_000): Promise<void> {
  const tries = `for i in $(seq ${timeoutMs / 200}); do { ${command}; } > /dev/null 2>&1 && exit; sleep 0.2; done; exit 1`
  await must(tries, { timeoutMs: timeoutMs * 2 })
}

/** Cuts the host's power in the middle of whatever it does, and resolves when it is up again. What no process synced is lost. */
export function cutPower(): Promise<void> {
  return comesBack("reset")
}

/** Has the host shut down and start again, and resolves when it is up again. */
export function reboot(): Promise<void> {
  return comesBack("reboot")
}

/**
 * Has a file's tests find banger installed (and the real Firecracker, where there is one), and asserts after each of them that
 * nothing of it is left in the host. Call it outside of them.
 */
export function eachOnHost(): void {
  let before = ""
  beforeAll(async () => {
    await must(
      `cmp -s ${GIVEN}/dist/banger /usr/local/bin/banger || install -m 755 ${GIVEN}/dist/banger /usr/local/bin/`,
    )
    await must(`[ ! -d ${GIVEN}/firecracker ] || install -m 755 ${GIVEN}/firecracker/* /usr/local/bin/`)
  }, 60_000)
  beforeEach(async () => {
    before = await must(TRACES)
  }, 30_000)
  afterEach(async () => {
    // A supervisor without a terminal says its last words when its VM's record is final already.
    await until(`[ -z "$(${LEFT})" ]`, 5000).catch(() => {})
    try {
      expect(await must(LEFT)).toBe("")
      expect(await must(TRACES)).toBe(before)
    } finally {
      await run("banger rm --force --all")
    }
  }, 60_000)
}

// --- internal ---

async function comesBack(from: "reset" | "reboot"): Promise<void> {
  const child = Bun.spawn([join(import.meta.dir, "../../../scripts/host"), from], {
    env: { ...process.env, BANGER_TEST_HOST: directory() },
    stdout: "pipe",
    stderr: "pipe",
    timeout: 150_000,
  })
  const said = await child.stderr.text()
  if ((await child.exited) !== 0) throw new Error(`the host did not come back: ${said}`)
}

function directory(): string {
  const path = process.env.BANGER_TEST_HOST
  if (path === undefined) throw new Error("these tests run in a host: ./scripts/test host")
  return path
}
