import { expect } from "bun:test"
import { firecrackerTest } from "./support/firecracker.ts"
import { eachOnHost, must, put, run } from "./support/host.ts"
import { makePciGuest } from "./support/pciGuest.ts"

eachOnHost()

const plugin = (initrd: string) => `import { readFileSync } from "node:fs"
import { definePlugin } from "banger"

export default definePlugin({
  name: "plugged",
  // Debian's, as it is installed; it has no words for devices without PCI.
  kernel: "/vmlinuz",
  initrd: "${initrd}",
  bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3",
  vmm: "firecracker",
  firecracker: { pci: true },
  network: true,
  async postBoot(ctx) {
    while (!readFileSync(ctx.vm.consoleLog, "utf8").includes("up: ")) await Bun.sleep(50)
    await ctx.drives.add({ id: "late", path: "/root/late.disk", readonly: true })
    await ctx.network.add({ id: "lan", bridge: "bgr7" })
  },
})
`

firecrackerTest(
  "a stock guest finds a drive and a card that are plugged in while it runs",
  async () => {
    const initrd = await makePciGuest()
    await put("/root/late.disk", "the plugged drive\n".repeat(100))
    await put("/root/plugged.ts", plugin(initrd))
    const { stdout, stderr, exit } = await run("banger run /root/plugged.ts", { timeoutMs: 150_000 })
    expect(stdout).toMatch(/^up: eth0 *\r?$/m)
    expect(stdout).toMatch(/^found: vda eth0 eth1 *\r?\nthe plugged drive\r?$/m)
    expect({ stderr: stderr.includes("plugged: guest reset"), exit }).toEqual({ stderr: true, exit: 0 })
    await must(`rm ${initrd} /root/late.disk /root/plugged.ts`)
  },
  200_000,
)
