import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import pkg from "../../package.json" with { type: "json" }
import { commandsBelow } from "../../src/cli/terminal/command.ts"
import { GROUPS } from "../../src/cli/terminal/help.ts"
import { root } from "../../src/cli/tree.ts"
import { ORIGIN, PROGRAM } from "../program.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function cli(...args: string[]) {
  const env = {
    PATH: process.env.PATH,
    BANGER_STATE_DIR: join(directory.path, "state"),
    BANGER_RUNTIME_DIR: join(directory.path, "run"),
  }
  const run = Bun.spawnSync([...PROGRAM, ...args], {
    env,
    cwd: directory.path,
  })
  return { stdout: run.stdout.toString(), stderr: run.stderr.toString(), exit: run.exitCode }
}

test.each(["--version", "-V", "version"])("%s prints version and commit", (word) => {
  const { stdout, ...rest } = cli(word)
  expect(stdout.replace(ORIGIN, "(origin)")).toBe(`banger ${pkg.version} (origin)\n`)
  expect(rest).toEqual({ stderr: "", exit: 0 })
})

test("help is data when it is asked for, and not success when nothing was", () => {
  expect(cli("--help").stdout.replace(ORIGIN, "(origin)")).toMatchInlineSnapshot(`
    "banger 0.1.0 (origin)

    Runs microVMs from a TypeScript file and leaves nothing behind.

      banger run ./plugin.ts

    Start a VM
      init       Write a starter plugin and the types it needs
      get        Get Firecracker, a guest kernel or a root file system
      run        Boot the VM that a plugin describes, run its hooks, clean up after it

    VMs that run
      ps         List VMs, with what is proven of each now
      logs       Print what a VM's serial console said
      attach     Connect this terminal to a VM's serial console
      stop       Stop VMs as their plugins say, and prove that nothing of them is left
      kill       End VMs at once, without asking their guests
      restart    Stop a VM if it runs, and run its plugin again in the background
      wait       Wait until a VM ends, and print how; fails if it ended badly
      inspect    Print all that is known of a VM, as JSON
      events     Print what happened to VMs, as JSON lines
      set        Change the limits of a running VM; on Firecracker also its memory and balloon
      snapshot   Write a running VM's state, memory and disks to a new directory (Firecracker)

    After them
      rm         Remove VMs that have ended, with their logs
      forget     Give up a VM, or what is kept for one, of which nothing can be told any more
      sweep      Remove sockets that nothing is bound to, and never any other; made for cron
      supervise  Watch over a running VM whose supervisor is gone, until it ends

    This host
      doctor     Check whether this host can run VMs, and say how to mend it
      disk       Look after persistent disks: list, remove, copy and resize them
      net        Look after the network: list it, remove leftovers, send packets
      system     Have the host run banger by itself: a cron file, or systemd units

    banger itself
      update     Replace this banger by a newer release; running VMs are left alone
      complete   Print the completion script of a shell
      help       Explain a command, or a topic
      version    Print the version

    banger COMMAND --help tells more; banger help exit-codes | environment | images | completions too.
    "
  `)
  expect(cli("help")).toMatchObject({ stderr: "", exit: 0 })
  expect(cli()).toMatchObject({ stderr: "", exit: 2 })
})

test("each command has its help", () => {
  expect(cli("run", "--help").stdout).toMatchInlineSnapshot(`
    "Boot the VM that a plugin describes, run its hooks, clean up after it (banger run)

    USAGE banger run [OPTIONS] <PLUGIN> [-- ARGS…]

    ARGUMENTS

      PLUGIN    The plugin file; words after -- are its ctx.args (Required)

    OPTIONS

                      --name=<NAME>    The VM's name, instead of the plugin's
      --vmm=<auto|firecracker|qemu>    The VMM, instead of the plugin's
                   --timeout=<TIME>    Stop the VM, as a failure, if it runs longer than that: 90s; without it: never, or as the plugin says
                             --plan    Print every step, path and command without doing any
                  --keep-on-failure    Leave a failed start as it is, for inspection
                          --replace    Stop the VM that has the name first
                    --restore=<DIR>    Continue from a snapshot instead of booting (Firecracker)
                     --trace=<FILE>    Write the run's phases and hooks as a Chrome trace
                  -i, --interactive    Give standard input to the guest's console also where it is no terminal
                       -d, --detach    Return when the VM is running, and print its name; its supervisor stays in the background
          --supervise=<banger|none>    none: leave no process of banger; stop, rm and sweep clean up
                             --json    Print the result as JSON instead of the guest's console
                          --verbose    Tell more, and show the stack of an error
                            --quiet    Print only warnings and errors
                         -h, --help    Show this help
    "
  `)
  expect(cli("init", "-h").stdout).toMatchInlineSnapshot(`
    "Write a starter plugin and the types it needs (banger init)

    USAGE banger init [OPTIONS] [FILE]

    ARGUMENTS

      FILE    The plugin to write (Default: plugin.ts)

    OPTIONS

         --types    Write only the types anew, beside a plugin that is there
          --json    Print JSON, and every message and error as a line of JSON
       --verbose    Tell more, and show the stack of an error
         --quiet    Print only warnings and errors
      -h, --help    Show this help
    "
  `)
  expect(cli("logs", "--help").stdout).toMatchInlineSnapshot(`
    "Print what a VM's serial console said (banger logs)

    USAGE banger logs [OPTIONS] <VM>

    ARGUMENTS

      VM    Name, id, or the beginning of an id (Required)

    OPTIONS

        -f, --follow    Print also what comes, until the VM ends
      -n, --tail=<N>    Begin with the last N lines (of each file)
          --boot=<N>    Of an earlier boot of its name: -1 is the one before
               --vmm    Print the VMM's own messages instead
            --events    Print the VM's events instead, as JSON lines
        --supervisor    Print what its detached supervisor said instead
              --json    Print each line as JSON
           --verbose    Tell more, and show the stack of an error
             --quiet    Print only warnings and errors
          -h, --help    Show this help
    "
  `)
  expect(cli("rm", "--help").stdout).toMatchInlineSnapshot(`
    "Remove VMs that have ended, with their logs (banger rm)

    USAGE banger rm [OPTIONS] [VM…]

    ARGUMENTS

      VM    Name, id, or the beginning of an id

    OPTIONS

        -a, --all    Every VM that has ended; with --force every VM
      -f, --force    Kill it first if it still runs; that there is none is fine
           --json    Print JSON, and every message and error as a line of JSON
        --verbose    Tell more, and show the stack of an error
          --quiet    Print only warnings and errors
       -h, --help    Show this help
    "
  `)
  expect(cli("sweep", "--help").stdout).toMatchInlineSnapshot(`
    "Remove sockets that nothing is bound to, and never any other; made for cron (banger sweep)

    USAGE banger sweep [OPTIONS] [DIR…]

    ARGUMENTS

      DIR    A directory of sockets, and more of them; without one: banger's own, and its dead VMs

    OPTIONS

                   --dry-run    Tell what would be removed, and how; change nothing
                      --json    Print what became of each socket as JSON
              --grace=<TIME>    Leave alone what was made or changed in this time (Default: 60s)
               --confirm=<N>    How many times a socket must be found dead (Default: 2)
      --confirm-delay=<TIME>    The time between two of these looks (Default: 500ms)
                 --depth=<N>    How many levels of subdirectories are swept too (Default: 1)
             --plugin=<FILE>    Ask the sweepCandidate hooks of this plugin first
            --metrics=<FILE>    Write the numbers for node_exporter's textfile collector
                   --verbose    Tell more, and show the stack of an error
                     --quiet    Print only warnings and errors
                  -h, --help    Show this help
    "
  `)
  expect(cli("system", "--help").stdout).toMatchInlineSnapshot(`
    "Have the host run banger by itself: a cron file, or systemd units (banger system)

    USAGE banger system [OPTIONS] cron|units|install|boot|shutdown

    OPTIONS

          --json    Print JSON, and every message and error as a line of JSON
       --verbose    Tell more, and show the stack of an error
         --quiet    Print only warnings and errors
      -h, --help    Show this help

    COMMANDS

          cron    Print a file for /etc/cron.d that sweeps every minute
         units    Print systemd units that run VMs, after a reboot too, and sweep
       install    Install these units; as root the host's, else your own
          boot    Finish VMs that a reboot has ended, and start again what is to run always
      shutdown    Stop every VM; \`banger system boot\` starts again what is to run always

    Use banger system <command> --help for more information about a command.
    "
  `)
  expect(cli("help", "rm").stdout).toBe(cli("rm", "--help").stdout)
  expect(cli("help", "net", "rm").stdout).toBe(cli("net", "rm", "--help").stdout)
  expect(cli("help", "net").stdout).toContain("USAGE banger net [OPTIONS] ls|hosts|rm|check")
})

test.each([
  [["rnu"], "there is no command rnu\ndid you mean run?"],
  [["constructor"], "there is no command constructor"],
  [["--paln", "run"], "unknown option --paln"],
  [["net"], "banger net needs a command\none of: ls, hosts, rm, check"],
  [["net", "lss"], "banger net has no command lss\ndid you mean ls?"],
  [["net", "ls", "x"], "unexpected argument x"],
  [["net", "rm", "--to", "x"], "unknown option --to"],
  [["get", "path"], "NAME is missing"],
  [["get", "vmlinux-6.1", "x"], "unexpected argument x"],
  [["help", "run", "x"], "banger run has no command x"],
  [["help", "net", "lss"], "did you mean ls?"],
  [["run"], "PLUGIN is missing"],
  [["run", "x.ts", "--paln"], "unknown option --paln\ndid you mean --plan?"],
  [["logs", "--since", "5m", "web"], "--since: a console has no times: "],
  [["logs", "--until=5m", "web"], "--until: a console has no times: "],
  [["logs", "-ft", "web"], "-t: a console has no times: "],
  [["logs", "--timestamps", "web"], "times of the VM's own events: --events"],
  [["ps", "--since", "5m"], "unknown option --since"],
  [["run", "none.ts"], "there is no plugin file none.ts\nto write one: banger init none.ts"],
  [["run", "/etc/hostname"], "its name must end in .ts or .js"],
  [
    ["run", "x.ts", "--timeout", "soon"],
    "--timeout soon: not a duration\nuse a number and a unit, at most 24h: 500ms, 90s, 10m, 2h",
  ],
  [["run", "x.ts", "--timeout", "25d"], "--timeout 25d: longer than 24h\nuse a number"],
  [["run", "x.ts", "--timeout", "0s"], "--timeout 0s: not above 0"],
  [["run", "x.ts", "--trace", "/nonexistent/t.json"], "--trace /nonexistent/t.json cannot be written: ENOENT"],
  [["run", "x.ts", "--trace", "/dev/null"], "--trace /dev/null is there and is not a regular file"],
  [["run", "x.ts", "--name", "A_b"], "--name A_b is not a name for a VM"],
  [["sweep", "/tmp", "--grace", "soon"], "--grace soon: not a duration"],
  [["sweep", "/tmp", "--grace", "60"], "use a number and a unit, at most 366d"],
  [["stop", "x", "--timeout", "5"], "--timeout 5: not a duration"],
  [["sweep", "/tmp", "--confirm", "0"], "--confirm 0 is not a whole number from 1 to 100"],
  [["sweep", "/tmp", "--depth", "17"], "--depth 17 is not a whole number from 0 to 16"],
  [["sweep", "/tmp", "--metrics", "/nonexistent/x.prom"], "there is no directory /nonexistent"],
  [["sweep", "/tmp", "--plugin", "none.ts"], "there is no plugin file none.ts"],
  [["sweep", ""], "DIR is empty"],
  [["system", "corn"], "banger system has no command corn\ndid you mean cron?"],
  [["system", "cron", "run/x"], "run/x is not an absolute path"],
  [["run", "x.ts", "a", "b"], "unexpected argument a\nwords for the plugin stand after --: -- a"],
  [["ps", "a"], "unexpected argument a\n"],
  [["rm", "nobody", "--", "x"], "banger rm takes nothing after --"],
] as const)("%p is wrong usage, said on standard error", (words, message) => {
  const { stdout, stderr, exit } = cli(...words)
  expect(stderr).toContain(message)
  expect({ stdout, exit }).toEqual({ stdout: "", exit: 2 })
})

test.each(["logs", "stop", "inspect", "rm"])(
  "%s of a VM that is not there has failed, and was no wrong usage",
  (name) => {
    const { stderr, exit } = cli(name, "nobody")
    expect(stderr).toContain('no VM "nobody"\nthere is no VM here; each user sees their own')
    expect(exit).toBe(1)
  },
)

test.each([
  ["rm", "USAGE banger rm [OPTIONS] [VM…]"],
  ["stop", "USAGE banger stop [OPTIONS] [VM…]"],
  ["sweep", "USAGE banger sweep [OPTIONS] [DIR…]"],
  ["set", "<WHAT…>"],
  ["run", "USAGE banger run [OPTIONS] <PLUGIN> [-- ARGS…]"],
  ["logs", "USAGE banger logs [OPTIONS] <VM>\n"],
])("%s --help shows what may be given several times, and what stands after --", (name, usage) => {
  expect(cli(name, "--help").stdout).toContain(usage)
})

test("every command is in a group of the help", async () => {
  const names = (await commandsBelow(root)).map(({ meta }) => meta.name)
  expect(Object.values(GROUPS).flat().sort()).toEqual([...names].sort())
})

test("global options may stand before the command", () => {
  expect(cli("--json", "net", "--quiet", "ls").stdout).toBe(cli("net", "ls", "--json").stdout)
  expect(cli("--verbose", "--version").stdout).toContain(pkg.version)
})

test("--help after -- is the plugin's own", () => {
  expect(cli("run", "none.ts", "--", "--help")).toMatchObject({ exit: 2, stdout: "" })
})

test("a stack is shown only when it is asked for", () => {
  expect(cli("rnu").stderr).not.toContain("    at ")
  expect(cli("rnu", "--verbose").stderr).toContain("at findCommand")
})

test("a trace that cannot be written any more is a warning beside the run's own result", () => {
  const trace = join(directory.path, "trace")
  const code = `import { mkdirSync } from "node:fs"\nmkdirSync(${JSON.stringify(trace)})\nthrow new Error("no luck")\n`
  writeFileSync(join(directory.path, "x.ts"), code)
  const { stderr, exit } = cli("run", "x.ts", "--trace", trace)
  expect(stderr).toContain("the trace was not written: --trace")
  expect(stderr).toContain("failed while loading: no luck")
  expect(exit).toBe(2)
})

const SAID = [
  ["version"],
  ["--version"],
  ["-V"],
  ["--help"],
  ["ps"],
  ["ps", "-q", "--json"],
  ["complete", "bash"],
].concat([["help"], ["system", "cron"], ["run", "--help"], ["version", "--json"], ["system", "units"]])

test.each(SAID.map((words) => [words.join(" "), words] as const))(
  "banger %s says it where its output takes nothing, and not where nobody reads it",
  (_, words) => {
    const shell = (script: string) => {
      const all = ["bash", "-c", script, "bash", ...PROGRAM, ...words]
      const env = {
        PATH: process.env.PATH,
        BANGER_STATE_DIR: join(directory.path, "s"),
        BANGER_RUNTIME_DIR: "/run/none",
      }
      const { stderr, exitCode } = Bun.spawnSync(all, { env, cwd: directory.path })
      return { stderr: stderr.toString(), exit: exitCode }
    }
    // A disk that is full, and one that fails: that file of a process says so.
    for (const file of ["/dev/full", "/proc/$$/mem"]) {
      const lost = shell(`"$@" > ${file}; exit $?`)
      expect([file, lost.stderr]).toEqual([file, expect.stringContaining("standard output cannot be written")])
      expect(lost.exit).toBe(1)
    }
    expect(shell('"$@" | true; exit $PIPESTATUS')).toEqual({ stderr: "", exit: 0 })
  },
)
