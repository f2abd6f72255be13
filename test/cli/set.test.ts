import { expect, test } from "bun:test"
import { join } from "node:path"
import { PROGRAM } from "../program.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function set(...words: string[]) {
  const env = {
    PATH: process.env.PATH,
    BANGER_STATE_DIR: join(directory.path, "state"),
    BANGER_RUNTIME_DIR: join(directory.path, "run"),
  }
  const run = Bun.spawnSync([...PROGRAM, "set", ...words], { env, cwd: directory.path })
  return { stderr: run.stderr.toString(), exit: run.exitCode }
}

test.each([
  [["memory=12X"], 'memory=12X: "12X" is not a size', "memory=512M"],
  [["memory="], 'memory=: "" is not a size', "memory=512M"],
  [["memory=-1M"], 'memory=-1M: "-1M" is not a size', "memory=512M"],
  [["memory=1000"], "memory=1000: not a whole number of MiB", "memory=512M"],
  [["balloon"], "balloon: balloon has no size", "balloon=512M"],
  [["balloon=1M", "balloon=2M"], "balloon=2M: balloon is set twice", "balloon=512M"],
  [["cpus=2"], 'cpus=2: "cpus" cannot be set; did you mean limits.cpus?', "memory=SIZE, balloon=SIZE"],
  [["limits.cpu=2"], 'limits.cpu=2: "limits.cpu" cannot be set; did you mean limits.cpus?', "limits.cpus=…"],
  [["limits.cpus"], "limits.cpus: limits.cpus has no value", "limits.cpus=none"],
  [["limits.cpus=0"], "limits.cpus=0: allowed: a number of processors from 0.01 on", "limits.cpus=none"],
  [["limits.cpus=two"], "limits.cpus=two: allowed: a number of processors from 0.01 on", "limits.cpus=none"],
  [["limits.memory=12X"], "limits.memory=12X: allowed: a size of at least 16M with its unit", "limits.memory=none"],
  [["limits.memory="], "limits.memory=: allowed: a size of at least 16M with its unit", "limits.memory=none"],
  [["limits.memory=2"], 'limits.memory=2: allowed: a size of at least 16M with its unit, "2G": a number alone', "none"],
  [["limits.memory=16777215"], "limits.memory=16777215: allowed: a size of at least 16M", "limits.memory=none"],
  [["limits.io=/dev/a,writeBytes=10"], 'allowed: a size of at least 4K with its unit, "10M": a number alone', ""],
  [["limits.pids=1.5"], "limits.pids=1.5: allowed: a whole number above 0", "limits.pids=none"],
  [["limits.pids=1", "limits.pids=none"], "limits.pids=none: limits.pids is set twice", ""],
  [["limits.io=/dev/vda"], "limits.io=/dev/vda: no limit for /dev/vda", "limits.io=/dev/sda,readBytes=10M"],
  [["limits.io=/dev/vda,readOps"], '"readOps" is no limit of a device', "limits.io=/dev/sda,readBytes=10M"],
  [["limits.io=/dev/vda,readOp=1"], '"readOp=1" is no limit of a device; did you mean readOps?', "limits.io=/dev/sda"],
  [["limits.io=/dev/vda,readOps=many"], "allowed: a whole number above 0", "limits.io=/dev/sda,readBytes=10M"],
  [["limits.io=/dev/a,readOps=1", "limits.io=/dev/a,readOps=2"], "/dev/a is set twice", ""],
  [["limits.io=/dev/a,readOps=none,readOps=2"], "readOps is set twice", ""],
  [["limits.io=/dev/a,readBytes=10M=20M"], "readBytes=10M=20M: allowed", ""],
  [["memroy=1G"], 'memroy=1G: "memroy" cannot be set; did you mean memory?', "memory=SIZE, balloon=SIZE"],
  [["constructor=1G"], 'constructor=1G: "constructor" cannot be set', "memory=SIZE, balloon=SIZE"],
])("banger set VM %p is refused before anything is looked up", (words, message, hint) => {
  const { stderr, exit } = set("nobody", ...words)
  expect(stderr).toContain(message)
  expect(stderr).toContain(hint)
  expect(exit).toBe(2)
})

test("banger set without a change, and of no VM, is refused by name", () => {
  expect(set("nobody")).toEqual({ stderr: expect.stringContaining("WHAT is missing"), exit: 2 })
  expect(set("nobody", "memory=1G")).toEqual({ stderr: expect.stringContaining('no VM "nobody"'), exit: 1 })
})
