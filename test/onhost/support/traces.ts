/** Prints what a VM may leave in a host, and that should not be there when none runs: nothing. A command of its shell. */
export const LEFT = [
  "pgrep -a -x 'banger.*|exe|firecracker|jailer|qemu-system-.*' || true",
  "find /sys/fs/cgroup/banger -mindepth 1 -type d 2> /dev/null || true",
  "find /var/lib/banger/jail -mindepth 2 -not -path '*/.grave' 2> /dev/null || true",
  "find /run/banger -mindepth 1 -not -path '/run/banger/sweep*' -not -path '/run/banger/.helpers*' 2> /dev/null || true",
  "find /var/lib/banger/vms -name '*.tmp' -o -name stage 2> /dev/null || true",
].join("; ")

/** Prints what is the same in a host before a VM and after it: mounts, network interfaces, packet rules. */
export const TRACES = [
  "findmnt --noheadings --raw --output TARGET,SOURCE,FSTYPE | grep -v '^/run/user/' | sort",
  "ip -oneline link show | cut -d ' ' -f 2",
  "nft list ruleset",
  "dmsetup ls",
  "losetup --list --noheadings",
].join("; ")
