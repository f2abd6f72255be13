import { expect, test } from "bun:test"
import { trapPluginExit } from "../../../src/supervisor/hooks/trapPluginExit.ts"

test("a plugin takes all listeners of its own away, and none of those that tell of the VM's end", () => {
  const [own, others] = [
    ["SIGCHLD", "SIGTERM", "SIGINT"],
    ["warning", "SIGWINCH"],
  ]
  const listener = () => {}
  const count = (names: readonly string[]) =>
    names.filter((name) => process.listeners(name as never).includes(listener))
  for (const name of [...own, ...others]) process.on(name, listener)
  const { removeAllListeners } = process
  const release = trapPluginExit({ fail() {} } as never)
  try {
    process.removeAllListeners("SIGCHLD")
    process.removeAllListeners("warning")
    expect(count([...own, ...others])).toEqual([...own, "SIGWINCH"])
    expect(process.removeAllListeners()).toBe(process)
    expect(count([...own, ...others])).toEqual(own)
  } finally {
    release()
    for (const name of [...own, ...others]) process.off(name, listener)
  }
  expect(process.removeAllListeners).toBe(removeAllListeners)
})
