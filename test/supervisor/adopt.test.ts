import { expect, test } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import { firecracker } from "../../src/host/firecracker/firecracker.ts"
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
  const control = { ready: Promise.resolve(), announced: () => now, closed: Promise.resolve() } as Partial<Control>
  const { machine, end } = await adopted({ ...qemu, adopt: async () => control as Control }, { announced: before })
  await end()
  expect(machine.control.announced()).toBe(told)
})

test.skipIf(process.arch !== "x64")(
  "a guest that has powered off is heard also where its control socket cannot be reached",
  async () => {
    const vmm: Vmm = { ...firecracker, adopt: () => Promise.reject(new Error("gone")) }
    const { machine, end } = await adopted(vmm, { console: "up\n[    1.000000] reboot: Power down\n" })
    await machine.control.halted
    expect(machine.control.unreachable).toContain("cannot be reached")
    expect(machine.control.announced()).toBe("halted")
    await end()
  },
  5000,
)

async function adopted(vmm: Vmm, { console = "", announced }: { console?: string; announced?: string | undefined }) {
  const child = Bun.spawn(["sleep", "60"])
  const process = openPid(child.pid)
  if (process === undefined) throw new Error("it does not run")
  const layout = vmLayout({ state: directory.path, runtime: directory.path }, "vm-1")
  mkdirSync(layout.dir, { recursive: true })
  writeFileSync(layout.consoleLog, console)
  const machine = await adoptMachine({
    ...{ vmm, layout, process, announced, consoleLimit: 1024, resources: [] },
    identity: identityOf(process, { startTime: 1, uid: 0, root: "" }),
    log: { debug() {}, info() {}, warn() {}, error() {} },
  })
  const end = async () => {
    child.kill()
    await machine.gone
  }
  return { machine, end }
}
