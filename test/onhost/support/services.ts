import { GIVEN, type Manner, must } from "./host.ts"

// VMs of services and users in the host.

/** Ends what a file of these tests has set up, for the files after it. */
export const asItWas = () =>
  must(
    "banger system install --remove; rm -rf /etc/banger/vms; loginctl disable-linger alice; rm -rf ~alice/.config/banger; true",
  )

/** A plugin with these lines more, whose guest says which boot it is, and counts. */
export const plugin = (more = "") => `import { definePlugin } from "banger"

const script = \`#!/bin/sh
echo "boot id $(cat /proc/sys/kernel/random/boot_id)"
i=0; while :; do echo "tick $i"; i=$((i + 1)); sleep 0.2; done
\`

export default definePlugin({
  kernel: "${GIVEN}/dist/guest/vmlinuz",
  initrd: "${GIVEN}/dist/guest/initrd.img",
  bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off",
  vmm: "qemu",
  ${more}
  async preBoot(ctx) {
    ctx.drives.add({ id: "job", path: await ctx.stage.write("job.sh", script), readonly: true })
  },
  postStop: (ctx) => ctx.log.info("postStop of " + ctx.vm.id),
})
`

/** What a unit has said since the boot. */
export const journal = (unit: string) => must(`journalctl -b -u ${unit} -o cat --no-pager`)

/** What `banger ps --json` tells. */
export const running = async () => JSON.parse(await must("banger ps --json")) as readonly { name: string; id: string }[]

/** What `banger ps --json` tells of the only VM, and which cgroup that and its supervisor are in. */
export async function detached(manner?: Manner) {
  const [vm] = JSON.parse(await must("banger ps --json", manner))
  const cgroupOf = async (pid: number) => (await must(`cat /proc/${pid}/cgroup`)).trim().replace(/^0::/, "")
  return { ...vm, cgroup: await cgroupOf(vm.pid), supervisorCgroup: await cgroupOf(vm.supervisor) }
}
