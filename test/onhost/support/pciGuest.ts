import { must, put } from "./host.ts"

/** Says what it has when it is up, then looks for new devices on its bus until there is a drive and a second card. */
const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
say() { echo "$1: $($b ls /sys/block /sys/class/net | $b grep -E '^(vd|eth)' | $b tr '\\n' ' ')"; }
say up
for i in $($b seq 100); do
  echo 1 > /sys/bus/pci/rescan
  [ -b /dev/vda ] && [ -e /sys/class/net/eth1 ] && break
  $b sleep 0.2
done
say found
$b head -n 1 /dev/vda
$b reboot -f
`

/** Makes an initramfs for the host's own kernel, with the drivers of PCI that the guest image has none of; resolves to its path. */
export async function makePciGuest(): Promise<string> {
  await put("/root/pci/init", INIT)
  await must(`cd /root/pci && chmod 755 init && mkdir -p bin modules proc sys dev && cp /bin/busybox bin/
    number=100
    modprobe --all --show-depends virtio_pci virtio_blk virtio_net | while read -r insmod path; do
      [ "$insmod" = insmod ] || continue
      name=\${path##*/}
      [ -n "$(ls modules | grep -e "-$name$")" ] || cp $path modules/$number-$name
      number=$((number + 1))
    done
    for packed in modules/*.xz; do [ ! -e $packed ] || unxz $packed; done
    find . | cpio --quiet -o -H newc > /root/pci.initrd && rm -r /root/pci`)
  return "/root/pci.initrd"
}
