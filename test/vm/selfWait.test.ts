import { expect, test } from "bun:test"
import { join } from "node:path"
import { openPid } from "../../src/host/process/pidRef.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { lockVm } from "../../src/vm/lock.ts"
import { refuseIfSelfWait, refuseSelfWait } from "../../src/vm/selfWait.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const layout = () => vmLayout({ state: directory.path, runtime: join(directory.path, "run") }, "vm-1")
const vm = { id: "vm-1", name: "vm" }

function refusal(pid: number): unknown {
  using supervisor = openPid(pid)
  if (supervisor === undefined) throw new Error(`no process ${pid}`)
  try {
    refuseSelfWait(supervisor, vm)
    return undefined
  } catch (error) {
    return error
  }
}

/** What a process that this one starts is told, when it wants to wait for the VM. */
function toldToChild(): string {
  const code = `
    import { refuseIfSelfWait } from "${join(import.meta.dir, "../../src/vm/selfWait.ts")}"
    try {
      refuseIfSelfWait(${JSON.stringify(layout())}, ${JSON.stringify(vm)})
      console.log("fine")
    } catch (error) { console.log(error.code) }`
  // By way of a shell, as a hook would.
  const run = Bun.spawnSync(["sh", "-c", '"$1" -e "$2"; true', "sh", process.execPath, code])
  return run.stdout.toString().trim()
}

test("who was started by a VM's supervisor may not wait for it, and is told what to do instead", () => {
  expect(refusal(process.ppid)).toMatchObject({
    code: "WRONG_STATE",
    subject: "vm-1",
    message: `vm (vm-1) cannot be waited for here: its supervisor (process ${process.ppid}) started this command`,
    hint: expect.stringContaining(`send SIGTERM to process ${process.ppid}`),
  })
})

test("a supervisor that has nothing to do with this process is waited for", async () => {
  const other = Bun.spawn(["sleep", "600"])
  expect(refusal(other.pid)).toBeUndefined()
  expect(refusal(process.pid)).toBeUndefined()
  other.kill(9)
  await other.exited
})

test("whoever has locked the VM counts, however far up it is; an unlocked VM is waited for", () => {
  expect(toldToChild()).toBe("fine")
  const lock = lockVm(layout(), "supervise")
  expect(toldToChild()).toBe("WRONG_STATE")
  expect(() => refuseIfSelfWait(layout(), vm)).not.toThrow()
  lock?.unlock()
  expect(toldToChild()).toBe("fine")
})
