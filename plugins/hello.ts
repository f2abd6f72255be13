import { definePlugin } from "banger"

// Boots a small guest that says hello and prints the message that preBoot staged for it.
export default definePlugin({
  kernel: "../dist/guest/vmlinuz",
  initrd: "../dist/guest/initrd.img",
  bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off",

  async preBoot(ctx) {
    const script = [
      "#!/bin/sh",
      'echo "kernel $(uname -r), up $(cut -d " " -f 1 /proc/uptime) s"',
      'echo "the host says: $(tr -d "\\0" < /dev/vdb)"',
    ]
    const job = await ctx.stage.write("job.sh", `${script.join("\n")}\n`)
    const message = await ctx.stage.write("message.txt", `hello ${ctx.args[0] ?? "guest"}, I am ${ctx.vm.name}`)
    ctx.drives.add({ id: "job", path: job, readonly: true })
    ctx.drives.add({ id: "message", path: message, readonly: true })
  },

  postBoot(ctx) {
    ctx.log.info(`${ctx.vm.vmm} runs as process ${ctx.vm.pid}`)
  },

  postStop(ctx) {
    ctx.log.info(`the VM ended: ${ctx.exit.reason}`)
  },
})
