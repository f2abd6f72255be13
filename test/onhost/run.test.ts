import { expect, test } from "bun:test"
import { firecrackerTest } from "./support/firecracker.ts"
import { eachOnHost, GIVEN, run } from "./support/host.ts"

eachOnHost()

const hello = `${GIVEN}/plugins/hello.ts`

async function expectHello(vmm: string): Promise<void> {
  const { stdout, stderr, exit } = await run(`banger run ${hello} --vmm ${vmm} -- there`)
  expect(stdout).toMatch(/kernel \d+\.\d+\.\S+, up \d+\.\d+ s/)
  expect(stdout).toContain("the host says: hello there, I am hello")
  expect(stderr).toContain(`hello: ${vmm} runs as process `)
  expect(stderr).toContain("the VM ended: guest reset")
  expect(exit).toBe(0)
}

test("hello boots a stock kernel on QEMU", () => expectHello("qemu"), 60_000)

firecrackerTest("hello boots a stock kernel on Firecracker", () => expectHello("firecracker"), 60_000)
