import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { identityOf } from "../../src/host/process/identity.ts"
import { openPid } from "../../src/host/process/pidRef.ts"
import { qemu } from "../../src/host/qemu/qemu.ts"
import type { Control, Vmm } from "../../src/host/vmm/vmm.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { adoptMachine } from "../../src/supervisor/adopt.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

test.each([
  ["guest-shutdown", undefined, "guest-shutdown"],
  ["guest-shutdown", "guest-reset", "guest-reset"],
  [undefined, undefined, undefined],
])("heard before %p, now %p", async (before, now, told) => {
  const child = Bun.spawn(["sleep", "60"])
  const process = openPid(child.pid)
  if (process === undefined) throw new Error("it does not run")
  const layout = vmLayout({ state: directory.path, runtime: directory.path }, "vm-1")
  mkdirSync(layout.dir, { recursive: true })
  const control = { ready: Promise.resolve(), announced: () => now, closed: Promise.resolve() } as Partial<Control>
  const vmm: Vmm = { ...qemu, adopt: async () => control as Control }
  const machine = await adoptMachine({
    ...{ vmm, layout, process, announced: before, consoleLimit: 1024, resources: [] },
    identity: identityOf(process, { startTime: 1, uid: 0, root: "" }),
    log: { debug() {}, info() {}, warn() {}, error() {} },
  })
  child.kill()
  await machine.gone
  expect(machine.control.announced()).toBe(told)
})
