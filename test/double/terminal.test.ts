import { expect, test } from "bun:test"
import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from "node:fs"
import { join } from "node:path"
import { banger, type Running, start, until } from "../system/support/banger.ts"
import { openTerminal } from "../system/support/streams.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootWords } from "./support/vms.ts"

// A shell with job control, in a terminal of the test's, of which a banger is a job.

const place = eachOnDoubles()

const RAW = "-icanon -echo -isig opost"
const COOKED = "icanon echo isig opost"

interface Shell {
  readonly shell: Running
  /** The modes of the terminal that a program notices. */
  readonly modes: () => string
  /** All its settings, as stty(1) tells them. */
  readonly settings: () => string
  readonly type: (keys: string) => void
  /** All that was shown on the terminal by now. */
  readonly shown: () => string
  /** Lets the script go on from its next `step`. */
  readonly go: () => void
  readonly close: () => void
}

/** Runs a script that has a banger with these words in `"$@"`; `step` in it waits for `go`. */
function inShell(words: readonly string[], script: string): Shell {
  const { master, slave } = openTerminal()
  const steps = join(place.dir, "steps")
  Bun.spawnSync(["mkfifo", steps])
  const gate = openSync(steps, constants.O_RDWR | constants.O_NONBLOCK)
  const functions = `steps=$1; shift; step() { read -r _ <"$steps"; }`
  const through = [
    "setsid",
    "--fork",
    "--ctty",
    "--wait",
    "bash",
    "--norc",
    "-m",
    "-c",
    `${functions}\n${script}`,
    "bash",
    steps,
  ]
  const shell = start(place, words, {}, { through, stdin: slave, stdout: slave, stderr: slave })
  let seen = ""
  const buffer = new Uint8Array(64 * 1024)
  const read = () => {
    try {
      for (;;) seen += new TextDecoder().decode(buffer.subarray(0, readSync(master, buffer)))
    } catch {
      // Nothing more is there yet.
    }
    return seen
  }
  const settings = () => Bun.spawnSync(["stty", "-a"], { stdin: slave }).stdout.toString()
  return {
    shell,
    settings,
    modes: () => {
      return settings()
        .split(/[\s;]+/)
        .filter((word) => /^-?(?:icanon|echo|isig|opost)$/.test(word))
        .sort(inOrder)
        .join(" ")
    },
    type: (keys) => void writeSync(master, keys),
    shown: read,
    go: () => void writeSync(gate, "\n"),
    close() {
      for (const fd of [master, slave, gate]) closeSync(fd)
    },
  }
}

const ORDER = ["icanon", "echo", "isig", "opost"]
const inOrder = (one: string, other: string) =>
  ORDER.indexOf(one.replace("-", "")) - ORDER.indexOf(other.replace("-", ""))

/** The banger that is a job of a shell: a process of its session whose command line has these words. */
function jobOf({ pid }: Running, word: string): number {
  const found = readdirSync("/proc").find((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      const [, session] = /^\d+ \(.*\) \S \d+ \d+ (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "latin1")) ?? []
      const command = readFileSync(`/proc/${name}/cmdline`, "latin1")
      return Number(session) === sessionOf(pid) && command.includes(`\0${word}\0`) && !command.startsWith("bash\0")
    } catch {
      return false
    }
  })
  return Number(found)
}

/** The child of setsid(1), which leads a session of its own. */
function sessionOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ")[0])
}

const stateOf = (pid: number) => /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, "latin1"))?.[1]

/** The two commands that connect a keyboard, and what ends them. */
const WAYS = [
  ["run", async () => bootWords(place, { flags: [] })],
  ["attach", () => boot(place).then(() => ["attach", "double"])],
] as const

for (const [name, prepare] of WAYS) {
  test.each(["SIGTSTP", "SIGSTOP", "SIGTTOU"] as const)(
    `${name}: after %s and fg the keys go to the guest as they are typed again; the shell has its own settings meanwhile`,
    async (signal) => {
      const words = await prepare()
      // A shell that is typed into gives the terminal its own settings when a job stops; this one is told to, after what nobody can hear.
      const own = signal === "SIGTSTP" ? ":" : 'stty "$own"'
      const at = inShell(words, `own=$(stty -g); "$@"; ${own}; echo "left $?"; step; fg >/dev/null; echo "ended $?"`)
      await until(() => at.shown().includes("up"))
      await until(() => at.modes() === RAW)
      const pid = jobOf(at.shell, name)
      process.kill(pid, signal)
      await until(() => at.shown().includes("left "))
      expect(at.modes()).toBe(COOKED)
      at.go()
      await until(() => at.modes() === RAW)
      at.type("hello\r")
      await until(() => at.shown().includes("hello"))
      // A terminal that is not raw shows it once more.
      expect(at.shown().split("hello")).toHaveLength(2)
      expect((await banger(place, ["stop", "double"])).exit).toBe(0)
      await until(() => at.shown().includes("ended "))
      await until(() => at.modes() === COOKED)
      await at.shell.ended
      at.close()
    },
  )

  test(`${name}: in the background it leaves the keyboard to the shell, and has it again in the foreground`, async () => {
    const words = await prepare()
    const at = inShell(
      words,
      `"$@"; bg >/dev/null; echo "now behind"; step; read -r line; echo "the shell got $line"; step; fg >/dev/null; echo "ended $?"`,
    )
    await until(() => at.modes() === RAW)
    await until(() => at.shown().includes("up"))
    const pid = jobOf(at.shell, name)
    process.kill(pid, "SIGTSTP")
    await until(() => at.shown().includes("now behind"))
    expect(at.modes()).toBe(COOKED)
    at.go()
    at.type("for the shell\r")
    await until(() => at.shown().includes("the shell got for the shell"))
    expect(stateOf(pid)).not.toBe("T")
    at.go()
    await until(() => at.modes() === RAW)
    at.type("for the guest\r")
    await until(() => at.shown().includes("for the guest"))
    expect((await banger(place, ["logs", "double"])).stdout).not.toContain("for the shell")
    expect((await banger(place, ["stop", "double"])).exit).toBe(0)
    await until(() => at.shown().includes("ended "))
    await until(() => at.modes() === COOKED)
    await at.shell.ended
    at.close()
  })

  test(`${name}: a job that began in the background has the keyboard once it is in the foreground`, async () => {
    const words = await prepare()
    const at = inShell(words, `"$@" & step; fg >/dev/null; echo "ended $?"`)
    await until(() => at.shown().includes("up"))
    const pid = jobOf(at.shell, name)
    expect(at.modes()).toBe(COOKED)
    expect(stateOf(pid)).not.toBe("T")
    at.go()
    await until(() => at.modes() === RAW)
    at.type("hello\r")
    await until(() => at.shown().includes("hello"))
    expect((await banger(place, ["stop", "double"])).exit).toBe(0)
    await until(() => at.shown().includes("ended "))
    await at.shell.ended
    at.close()
  })
}

test("what others set while banger is stopped is what the terminal has after its end", async () => {
  const at = inShell(bootWords(place, { flags: [] }), `"$@"; stty erase ^H; step; fg >/dev/null; echo "ended $?"`)
  await until(() => at.modes() === RAW)
  process.kill(jobOf(at.shell, "run"), "SIGTSTP")
  await until(() => at.settings().includes("erase = ^H"))
  at.go()
  await until(() => at.modes() === RAW)
  await until(() => at.shown().includes("up"))
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  await until(() => at.shown().includes("ended "))
  expect(at.modes()).toBe(COOKED)
  expect(at.settings()).toContain("erase = ^H")
  await at.shell.ended
  at.close()
})
