import { expect, test } from "bun:test"
import { rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { vmLayout } from "../../src/store/state/places.ts"
import { type LockHolder, lockHolder, lockVm } from "../../src/vm/lock.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const layout = () => vmLayout({ state: directory.path, runtime: join(directory.path, "run") }, "vm-1")

function holderIs(): LockHolder["is"] {
  using holder = lockHolder(layout())
  return holder.is
}

test("a lock tells who has locked the VM, from the moment it is locked to the moment it is not", () => {
  expect(holderIs()).toBe("free")
  const lock = lockVm(layout(), "supervise")
  using holder = lockHolder(layout())
  expect(holder).toMatchObject({ is: "held", process: { pid: process.pid }, doing: "supervise" })
  expect(lockVm(layout(), "finish")).toBeUndefined()
  lock?.unlock()
  lock?.unlock()
  expect(holderIs()).toBe("free")
  const again = lockVm(layout(), "finish")
  using next = lockHolder(layout())
  expect(next).toMatchObject({ is: "held", doing: "finish" })
  again?.unlock()
})

test("a lock that is being written, is no lock of ours or is too long tells nothing", () => {
  lockVm(layout(), "supervise")?.unlock()
  for (const text of [
    '{"doing":"supervise","identity":{"pid":',
    "{}",
    "text",
    `{"doing":"sleep"${" ".repeat(20_000)}}`,
  ]) {
    writeFileSync(layout().lock, text)
    expect(holderIs(), text.slice(0, 40)).toBe("unknown")
  }
})

test("to look who has locked a VM makes nothing", () => {
  expect(holderIs()).toBe("free")
  expect(() => statSync(layout().dir)).toThrow("ENOENT")
})

test("a VM whose directory another process has removed is locked all the same", () => {
  const lock = lockVm(layout(), "finish")
  lock?.unlock()
  rmSync(layout().dir, { recursive: true })
  const again = lockVm(layout(), "finish")
  expect(statSync(layout().lock).isFile()).toBe(true)
  again?.unlock()
})

test("a VM is unlocked when the process that locked it is killed", async () => {
  const code = `
    import { lockVm } from "${join(import.meta.dir, "../../src/vm/lock.ts")}"
    lockVm(${JSON.stringify(layout())}, "supervise")
    console.log("locked")
    setInterval(() => {}, 1000)`
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" })
  await child.stdout.getReader().read()
  expect(lockVm(layout(), "finish")).toBeUndefined()
  {
    using holder = lockHolder(layout())
    expect(holder).toMatchObject({ is: "held", process: { pid: child.pid } })
  }
  child.kill(9)
  await child.exited
  expect(holderIs()).toBe("free")
  const lock = lockVm(layout(), "finish")
  expect(lock).toBeDefined()
  lock?.unlock()
})
