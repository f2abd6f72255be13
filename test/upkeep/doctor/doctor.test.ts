import { expect, test } from "bun:test"
import { SyscallError } from "../../../src/base/linux/errors.ts"
import type { Stat } from "../../../src/base/linux/structs.ts"
import { Failure } from "../../../src/base/terms/failure.ts"
import { firecracker } from "../../../src/host/firecracker/firecracker.ts"
import { qemu } from "../../../src/host/qemu/qemu.ts"
import type { KnownFault } from "../../../src/host/vmm/vmm.ts"
import type { Candidates, Obstacle } from "../../../src/supervisor/boot/chooseVmm.ts"
import { checksFor, examine } from "../../../src/upkeep/doctor/examine.ts"
import type { Host, Said } from "../../../src/upkeep/doctor/host.ts"
import { checkChoice, checkFirecracker } from "../../../src/upkeep/doctor/vmms.ts"

const none = { nlink: 1, gid: 0, ino: 1n, size: 0, ctimeMs: 0, mtimeMs: 0, btimeMs: 0, dev: "8:1", mountId: 1n }
const directory = (uid: number, mode: number): Stat => ({ ...none, uid, mode: 0o040000 | mode, rdev: "0:0" })
const device = (rdev: string, mode = 0o660, gid = 104): Stat => ({ ...none, uid: 0, gid, mode: 0o020000 | mode, rdev })

/** What a good host has, and what a test changes of it. */
interface Changes extends Partial<Omit<Host, "read" | "list" | "stat" | "run">> {
  readonly files?: Readonly<Record<string, string | undefined>>
  readonly stats?: Readonly<Record<string, Stat | undefined>>
  readonly lists?: Readonly<Record<string, readonly string[] | undefined>>
  readonly runs?: Readonly<Record<string, Said | undefined>>
}

const FLAGS = "flags\t\t: fpu vmx avx2 bmi1 bmi2 fma f16c movbe"
const MOUNTS = "1 0 8:1 / / rw,relatime - ext4 /dev/sda rw\n2 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

function host({ files = {}, stats = {}, lists = {}, runs = {}, ...rest }: Changes = {}): Host {
  const allFiles: Record<string, string | undefined> = {
    "/proc/cpuinfo": FLAGS,
    "/proc/self/mountinfo": MOUNTS,
    "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "/proc/sys/net/ipv4/ip_forward": "1\n",
    ...Object.fromEntries(
      ["symlinks", "hardlinks", "fifos", "regular"].map((name) => [`/proc/sys/fs/protected_${name}`, "1\n"]),
    ),
    "/proc/swaps": "Filename Type Size Used Priority\n",
    "/proc/cmdline": "quiet\n",
    "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    8000000 kB\n",
    "/etc/resolv.conf": "nameserver 192.0.2.53\n",
    "/etc/group": "kvm:x:104:\n",
    ...files,
  }
  const allStats: Record<string, Stat | undefined> = {
    "/": directory(0, 0o755),
    "/proc/sys/net/ipv4/conf/default": directory(0, 0o555),
    "/dev/kvm": device("10:232"),
    "/dev/net/tun": device("10:200"),
    ...stats,
  }
  const allLists: Record<string, readonly string[] | undefined> = {
    "/sys/devices/system/cpu/vulnerabilities": [],
    ...lists,
  }
  const allRuns: Record<string, Said | undefined> = {
    "nft --version": { exit: 0, stdout: "" },
    "nft list tables": { exit: 0, stdout: "" },
    "nft -t -j list ruleset": { exit: 0, stdout: '{"nftables": []}' },
    ...runs,
  }
  return {
    uid: 0,
    arch: "x64",
    release: "6.1.0-18-amd64",
    env: {},
    places: { state: "/s", runtime: "/r", config: "/c" },
    binary: undefined,
    open: () => {},
    writable: () => true,
    room: () => ({ bytes: 2 ** 40, files: 10 ** 6, type: 0xef53 }),
    clones: () => true,
    kvm: () => ({ version: 12, has: () => true }),
    tryGuest: async () => ({ is: "works" }),
    refusedCalls: () => [],
    requireTracking: () => {},
    networkFaults: () => [],
    strangePorts: () => [],
    forwardedElsewhere: () => [],
    tryCgroups: (mount) => ({ is: "usable", mount }),
    disks: () => undefined,
    ...rest,
    read: (path) => allFiles[path],
    list: (path) => allLists[path],
    stat: (path) => allStats[path],
    run: (argv) => allRuns[argv.join(" ")],
  }
}

const NETWORK_MANAGER = {
  stats: { "/run/NetworkManager": directory(0, 0o755) },
  lists: { "/sys/devices/system/cpu/vulnerabilities": [] },
}

/** A bridge of banger's with another subnet than the first one's. */
const BRIDGES = {
  stats: { "/sys/class/net/bgr0/bridge": directory(0, 0o755) },
  lists: { "/sys/class/net": ["lo", "bgr0"] },
  files: {
    "/proc/net/route":
      "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nbgr0\t00004D0A\t00000000\t0001\t0\t0\t0\t0000FFFF\n",
  },
}

/** Rules that drop what is forwarded and has this. */
function dropping(what: string, value: string): string {
  const [kind = "", field = ""] = what.split(" ")
  const left = kind === "meta" ? { meta: { key: field } } : { payload: { protocol: kind, field } }
  const right = kind === "meta" ? value : { prefix: { addr: value, len: 16 } }
  return JSON.stringify({
    nftables: [
      { table: { family: "inet", name: "f" } },
      { chain: { family: "inet", table: "f", name: "g", hook: "forward", policy: "accept" } },
      {
        rule: { family: "inet", table: "f", chain: "g", expr: [{ match: { op: "==", left, right } }, { drop: null }] },
      },
    ],
  })
}

/** Default routes by eth0, and by IPv6 by wg0; lo has one that leads nowhere. */
const ROUTES = {
  "/proc/net/route":
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
    "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth1\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
  "/proc/net/ipv6_route": ["wg0", "lo"]
    .map(
      (link) =>
        `${"0".repeat(32)} 00 ${"0".repeat(32)} 00 ${"0".repeat(32)} 00000400 00000001 00000000 00000001 ${link}\n`,
    )
    .join(""),
  "/sys/class/net/eth0/mtu": "1500\n",
  "/sys/class/net/wg0/mtu": "1500\n",
  "/sys/class/net/lo/mtu": "65536\n",
}

/** Every check but those that look for programs. */
const { firecracker: _, qemu: __, vmm: ___, ...checks } = checksFor("linux-x64")

test("on a host that has all, every check is ok", async () => {
  const found = await examine(host(), checks)
  expect(found.filter(({ is }) => is !== "ok")).toEqual([])
  expect(found.length).toBeGreaterThan(25)
})

const FAULTS: readonly [id: string, verdict: string, changes: Changes, says: RegExp, hint?: RegExp][] = [
  ["kernel", "fail", { release: "5.10.0-28-amd64" }, /needs 5\.14/, /newer kernel/],
  ["kernel", "fail", { release: "4.19" }, /needs 5\.14/],
  ["kernel", "unknown", { release: "odd" }, /calls itself odd/],
  ["system-calls", "fail", { refusedCalls: () => ["openat2: EPERM"] }, /openat2: EPERM/, /seccomp/],
  ["cpu", "fail", { files: { "/proc/cpuinfo": "flags : fpu vmx" } }, /no avx2.*SIGILL/, /baseline/],
  [
    "binary",
    "fail",
    { binary: "/b", stats: { "/b": { ...directory(7, 0o755), mode: 0o100755 } } },
    /uid 7 can change/,
    /^chown root \/b$/,
  ],
  [
    "binary",
    "fail",
    { binary: "/b", stats: { "/b": { ...directory(0, 0), mode: 0o100775 } } },
    /others can change/,
    /^chmod go-w \/b$/,
  ],
  [
    "binary",
    "fail",
    { binary: "/b", stats: { "/b": { ...directory(0, 0), mode: 0o104755 } } },
    /setuid/,
    /^chmod ug-s \/b$/,
  ],
  ["environment", "warn", { env: { BUN_OPTIONS: "--preload x", HOME: "/" } }, /BUN_OPTIONS/, /^unset BUN_OPTIONS$/],
  ["kvm", "warn", { stats: { "/dev/kvm": undefined } }, /no \/dev\/kvm/, /^modprobe kvm_intel$/],
  [
    "kvm",
    "warn",
    { stats: { "/dev/kvm": undefined }, files: { "/proc/cpuinfo": "flags : svm" } },
    /emulated/,
    /^modprobe kvm_amd$/,
  ],
  [
    "kvm",
    "warn",
    { stats: { "/dev/kvm": undefined }, files: { "/proc/cpuinfo": "flags : fpu" } },
    /shows no virtualization/,
    /firmware/,
  ],
  ["kvm", "fail", { stats: { "/dev/kvm": directory(0, 0o755) } }, /is not KVM's device/, /mknod/],
  [
    "kvm",
    "warn",
    { uid: 12345, open: refuses("EACCES", 13) },
    /group kvm\) is not for 12345/,
    /^usermod -aG kvm 12345/,
  ],
  [
    "kvm",
    "warn",
    { uid: 12345, open: refuses("EACCES", 13), stats: { "/dev/kvm": device("10:232", 0o600, 0) } },
    /600/,
    /setfacl/,
  ],
  ["kvm", "warn", { open: refuses("ENODEV", 19) }, /ENODEV/, /modprobe/],
  ["kvm", "fail", { kvm: () => ({ version: 12, has: (n) => n !== 36 }) }, /lacks .*IOEVENTFD/, /qemu/],
  ["kvm", "fail", { kvm: () => ({ version: 11, has: () => true }) }, /version 11/],
  ["guests", "warn", { tryGuest: fails("no rdmsr") }, /stock kernels do not boot .*: no rdmsr$/, /emulates/],
  ["guests", "warn", { tryGuest: fails("x"), lists: { "/sys/module/kvm_pvm": [] } }, /x \(it is PVM/, /emulates/],
  ["guests", "unknown", { tryGuest: async () => ({ is: "unknown", words: "EMFILE" }) }, /cannot be told: EMFILE/],
  ["guests", "warn", { files: { "/proc/cpuinfo": `${FLAGS} hypervisor` } }, /itself a VM/],
  ["guests", "warn", { files: { "/sys/module/kvm_intel/parameters/ept": "N\n" } }, /ept=N/, /modprobe/],
  ["cgroups", "warn", { files: { "/proc/self/mountinfo": "1 0 8:1 / / rw - ext4 x rw" } }, /not mounted/, /unified/],
  [
    "cgroups",
    "warn",
    { files: { "/proc/self/mountinfo": MOUNTS.replace("cgroup rw - cgroup2", "cgroup ro - cgroup2") } },
    /^cgroup v2 at \/sys\/fs\/cgroup cannot be used: it is mounted read-only/,
    /^mount -o remount,rw \/sys\/fs\/cgroup;/,
  ],
  [
    "cgroups",
    "warn",
    { files: { "/sys/fs/cgroup/cgroup.controllers": undefined } },
    /another mount hides it/,
    /^umount/,
  ],
  [
    "cgroups",
    "warn",
    { tryCgroups: (mount) => ({ is: "unusable", mount, why: "it may have no more (EAGAIN)", hint: "x" }) },
    /EAGAIN/,
    /^x$/,
  ],
  [
    "user",
    "fail",
    { files: { "/proc/self/uid_map": "0 1000 1\n", "/proc/self/gid_map": "0 1000 1\n" } },
    /maps no 16 uids/,
    /jail: false/,
  ],
  [
    "user",
    "warn",
    { stats: { "/proc/self/ns/user": { ...directory(0, 0), ino: 4026532000n } } },
    /^root of a user namespace: QEMU's VMs run in jails; Firecracker's jailer cannot make device nodes$/,
    /vmm: "qemu"/,
  ],
  ["user", "ok", { stats: { "/proc/self/ns/user": { ...directory(0, 0), ino: 4026531837n } } }, /^root: VMs run/],
  ["cgroups", "warn", { files: { "/sys/fs/cgroup/cgroup.controllers": "cpu pids\n" } }, /has no io, memory/, /unified/],
  [
    "schedule",
    "fail",
    {
      lists: { "/etc/cron.d": ["banger"] },
      files: { "/etc/cron.d/banger": "# x\n* * * * * root BANGER_STATE_DIR=/s '/opt/b 1/banger' sweep --quiet\n" },
    },
    /^\/etc\/cron\.d\/banger runs \/opt\/b 1\/banger, which is not there$/,
    /^banger system cron > \/etc\/cron\.d\/banger$/,
  ],
  [
    "schedule",
    "fail",
    // A file with other jobs is not one to write anew.
    { files: { "/etc/crontab": "* * * * * root /opt/\x1b[1mbanger sweep --quiet\n* * * * * root backup\n" } },
    /^\/etc\/crontab runs \/opt\/[^\x1b]*banger, which is not there$/,
    /^edit \/etc\/crontab, and have the line run what this names: command -v banger/,
  ],
  [
    "schedule",
    "fail",
    {
      lists: { "/var/spool/cron/crontabs": ["root"] },
      stats: { "/var/spool/cron/crontabs/root": { ...directory(0, 0), mode: 0o100600 } },
      files: { "/var/spool/cron/crontabs/root": "* * * * * /opt/banger sweep\n" },
    },
    /^\/var\/spool\/cron\/crontabs\/root runs \/opt\/banger, /,
    /^run: crontab -e, /,
  ],
  // Any user could have the doctor find a fault.
  [
    "schedule",
    "ok",
    {
      lists: { "/var/spool/cron/crontabs": ["mallory"] },
      stats: { "/var/spool/cron/crontabs/mallory": { ...directory(1000, 0), mode: 0o100600 } },
      files: { "/var/spool/cron/crontabs/mallory": "* * * * * /opt/banger sweep\n" },
    },
    /^neither cron nor systemd runs banger/,
  ],
  [
    "schedule",
    "fail",
    {
      lists: { "/etc/systemd/system": ["banger-sweep.service", "other.service"] },
      files: { "/etc/systemd/system/banger-sweep.service": 'ExecStart="/opt/b 50%%/banger" sweep\n' },
    },
    /runs \/opt\/b 50%\/banger, which is not there$/,
    /^banger system install$/,
  ],
  ["directories", "fail", { stats: { "/s": directory(0, 0o777) } }, /\/s is open to others/, /^chmod 1711 \/s$/],
  ["directories", "fail", { stats: { "/r": directory(12, 0o700) } }, /\/r belongs to uid 12/, /^chown 0 \/r$/],
  ["directories", "fail", { stats: { "/s": { ...directory(0, 0), mode: 0o100600 } } }, /not a directory/, /^mv /],
  [
    "directories",
    "fail",
    { stats: { "/c": { ...directory(5, 0), mode: 0o100600 } } },
    /\/c belongs to uid 5/,
    /^chown root \/c$/,
  ],
  [
    "directories",
    "fail",
    { stats: { "/c": { ...directory(0, 0), mode: 0o100622 } } },
    /\/c can be written/,
    /^chmod go-w \/c$/,
  ],
  [
    "socket-paths",
    "fail",
    { places: { state: "/s", runtime: `/${"r".repeat(80)}`, config: "/c" } },
    /119 bytes of the 107/,
    /BANGER_RUNTIME_DIR.*12 bytes/,
  ],
  [
    "socket-paths",
    "fail",
    { places: { state: `/${"s".repeat(80)}`, runtime: "/r", config: "/c" } },
    /of the 107/,
    /BANGER_STATE_DIR/,
  ],
  [
    "jail-file-system",
    "warn",
    { files: { "/proc/self/mountinfo": "1 0 8:1 / / rw,noexec,nodev - ext4 x rw" } },
    /noexec, nodev/,
    /remount/,
  ],
  [
    "jail-file-system",
    "fail",
    { files: { "/proc/self/mountinfo": "1 0 8:1 / / ro - ext4 x ro" } },
    /read-only/,
    /BANGER_STATE_DIR/,
  ],
  [
    "jail-file-system",
    "warn",
    { room: () => ({ bytes: 2 ** 40, files: 10 ** 6, type: 0x794c7630 }) },
    /overlayfs/,
    /local disk/,
  ],
  [
    "runtime-file-system",
    "warn",
    { room: () => ({ bytes: 2 ** 40, files: 10 ** 6, type: 0x794c7630 }) },
    /on overlay, where a sweep can tell no dead socket/,
    /tmpfs: BANGER_RUNTIME_DIR=/,
  ],
  [
    "runtime-file-system",
    "warn",
    { room: () => ({ bytes: 2 ** 40, files: 10 ** 6, type: 0x6969 }) },
    /on NFS/i,
    /BANGER_RUNTIME_DIR/,
  ],
  [
    "disks",
    "warn",
    { disks: () => ({ disks: [{ sizeBytes: 2 ** 41, usedBytes: 2 ** 30 }], strange: [] }) },
    /^1 disk in \/s\/disks may come to take 2\.0T more, and 1T are free/,
    /mount a larger file system on \/s\/disks/,
  ],
  [
    "disks",
    "warn",
    { disks: () => ({ disks: [], strange: ["/s/disks/a.raw is a symlink"] }) },
    /^\/s\/disks\/a\.raw is a symlink/,
  ],
  ["reflinks", "warn", { clones: () => false }, /cannot share blocks/, /btrfs/],
  ["reflinks", "unknown", { clones: refuses("EACCES", 13) }, /could not be found out.*EACCES/],
  [
    "image-file-system",
    "warn",
    { stats: { "/s/images": { ...none, ...directory(0, 0o700), dev: "8:2" }, "/s/jail": directory(0, 0o711) } },
    /two file systems/,
  ],
  ["space", "fail", { room: () => ({ bytes: 1000, files: 10 ** 6, type: 0 }) }, /is full: 1000B/, /df \//],
  ["space", "fail", { room: () => ({ bytes: 2 ** 40, files: 3, type: 0 }) }, /3 files left/, /df -i/],
  ["space", "warn", { room: () => ({ bytes: 2 ** 29, files: 10 ** 6, type: 0 }) }, /512M/],
  ["memory", "warn", { files: { "/proc/meminfo": "MemAvailable: 1000 kB\n" } }, /1000K/],
  ["mounts", "warn", { files: { "/proc/self/mountinfo": MOUNTS.repeat(300) } }, /600 mounts/],
  ["tun", "warn", { stats: { "/dev/net/tun": undefined } }, /no \/dev\/net\/tun/, /^modprobe tun/],
  ["tun", "fail", { stats: { "/dev/net/tun": device("1:3") } }, /not the tun device/],
  ["tun", "warn", { open: refuses("EPERM", 1) }, /cannot be opened.*EPERM/],
  ["nft", "warn", { runs: { "nft --version": undefined } }, /nft is not there/, /nftables/],
  ["nft", "warn", { runs: { "nft list tables": { exit: 1, stdout: "" } } }, /cannot list/, /modprobe/],
  [
    "forwarding",
    "warn",
    { files: { "/proc/sys/net/ipv4/ip_forward": "0\n" } },
    /ip_forward=0/,
    /^sysctl -w net\.ipv4\.ip_forward=1/,
  ],
  [
    "forward-policy",
    "warn",
    { runs: { "nft -t -j list ruleset": { exit: 0, stdout: docker() } } },
    /Docker's rules refuse.*filter FORWARD/,
    /^iptables -I DOCKER-USER -i bgr\+ -j ACCEPT && iptables -I DOCKER-USER -o bgr\+/,
  ],
  [
    "forward-policy",
    "warn",
    {
      files: { "/proc/net/ip_tables_names": "nat\nfilter\n" },
      runs: { "iptables-legacy-save": { exit: 0, stdout: "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n" } },
    },
    /legacy/,
    /^iptables-legacy -I FORWARD/,
  ],
  [
    "forward-policy",
    "warn",
    {
      files: { "/proc/sys/net/bridge/bridge-nf-call-iptables": "1\n" },
      runs: { "nft -t -j list ruleset": { exit: 0, stdout: docker() } },
    },
    /and what bridges of yours carry \(net\.bridge\.bridge-nf-call-iptables=1\)/,
  ],
  [
    "forward-policy",
    "warn",
    {
      ...BRIDGES,
      runs: { "nft -t -j list ruleset": { exit: 0, stdout: dropping("ip saddr", "10.77.0.0") } },
    },
    /others' rules refuse what VMs send beyond this host: inet f g$/,
  ],
  [
    "forward-policy",
    "ok",
    {
      ...BRIDGES,
      files: { ...BRIDGES.files, "/proc/net/if_inet6": "fd010203040500010000000000000001 03 40 00 80 bgr9\n" },
      runs: { "nft -t -j list ruleset": { exit: 0, stdout: dropping("meta nfproto", "ipv6") } },
    },
    /no rules of others refuse what is forwarded/,
  ],
  [
    "forward-policy",
    "warn",
    {
      ...BRIDGES,
      files: { ...BRIDGES.files, "/proc/net/if_inet6": "fd010203040500010000000000000001 03 40 00 80 bgr0\n" },
      runs: { "nft -t -j list ruleset": { exit: 0, stdout: dropping("meta nfproto", "ipv6") } },
    },
    /refuse what VMs send beyond this host: inet f g by IPv6$/,
    /^nft 'insert rule inet f g iifname "bgr\*" accept'/,
  ],
  ["forward-policy", "unknown", { runs: { "nft -t -j list ruleset": { exit: 1, stdout: "" } } }, /tells all rules/],
  [
    "host-policy",
    "warn",
    {
      files: { "/proc/net/ip_tables_names": "filter\n" },
      runs: {
        "iptables-legacy-save": { exit: 0, stdout: "*filter\n:INPUT DROP [0:0]\n:ufw-user-input - [0:0]\nCOMMIT\n" },
      },
    },
    /^ufw's rules refuse what VMs send to this host itself: ip filter INPUT \(iptables-legacy\)$/,
    /^ufw allow in on bgr0$/,
  ],
  [
    "host-policy",
    "ok",
    { runs: { "nft -t -j list ruleset": { exit: 0, stdout: docker() } } },
    /no rules of others refuse/,
  ],
  [
    "name-servers",
    "warn",
    { files: { "/etc/resolv.conf": "nameserver 127.0.0.53\nnameserver fe80::1%eth0\n" } },
    /told no name server: \/etc\/resolv.conf names 127\.0\.0\.53 \(this host alone\)/,
    /^network: \{ dns:/,
  ],
  [
    "networks",
    "warn",
    {
      networkFaults: () => [
        { vm: "web-1", what: "its rules are gone", restorable: true },
        { vm: "db-2", what: "its interface x is gone", restorable: false },
      ],
    },
    /web-1: its rules are gone, db-2: its interface x is gone/,
    /^banger net rm; banger restart db-2$/,
  ],
  [
    "networks",
    "warn",
    {
      strangePorts: () => [
        { port: "eth7", bridge: "bgr0" },
        { port: "x y", bridge: "bgr0" },
      ],
    },
    /^eth7 is a port of bgr0 that is no VM's: .*; and 1 more$/,
    /^ip link set eth7 nomaster$/,
  ],
  ["ports", "ok", {}, /^no other program forwards a port/],
  [
    "ports",
    "warn",
    { forwardedElsewhere: () => ["the port 80/tcp is forwarded by docker", "another"] },
    /^the port 80\/tcp is forwarded by docker; and 1 more$/,
    /^banger net check$/,
  ],
  [
    "settings",
    "warn",
    { writable: (path) => !path.startsWith("/proc/sys") },
    /\/proc\/sys is read-only/,
    /^mount -o remount,bind,rw \/proc\/sys/,
  ],
  [
    "network-manager",
    "warn",
    NETWORK_MANAGER,
    /is not told to leave/,
    /^printf '\[keyfile\]\\nunmanaged-devices\+=interface-name:bgr\*\\n' > \/etc/,
  ],
  [
    "network-manager",
    "ok",
    {
      ...NETWORK_MANAGER,
      lists: { ...NETWORK_MANAGER.lists, "/etc/NetworkManager/conf.d": ["x.conf"] },
      files: {
        "/etc/NetworkManager/conf.d/x.conf":
          "[keyfile]\nunmanaged-devices=interface-name:docker0;interface-name:bgr*\n",
      },
    },
    /leaves the interfaces of VMs alone/,
  ],
  [
    "network-manager",
    "warn",
    {
      ...NETWORK_MANAGER,
      files: {
        "/etc/NetworkManager/NetworkManager.conf": "[keyfile]\nunmanaged-devices=*;except:interface-name:bgr*\n",
      },
    },
    /is not told to leave/,
  ],
  ["mtu", "ok", { files: ROUTES }, /the ways out carry 1500 bytes/],
  [
    "mtu",
    "ok",
    { files: { ...ROUTES, "/sys/class/net/eth0/mtu": "1420\n" } },
    /by eth0 carries 1420 bytes, and so do networks/,
  ],
  [
    "mtu",
    "ok",
    { files: { ...ROUTES, "/sys/class/net/wg0/mtu": "1280\n" } },
    /by wg0 carries 1280 bytes, and so do networks/,
  ],
  [
    "mtu",
    "ok",
    { files: { ...ROUTES, "/sys/class/net/eth0/mtu": "9000\n", "/sys/class/net/wg0/mtu": "9000\n" } },
    /network: \{ mtu: 9000 \}/,
  ],
  ["mtu", "ok", {}, /no way out of this host is known/],
  ["forward-policy", "unknown", { uid: 1000 }, /by root only/],
  [
    "flows",
    "warn",
    {
      requireTracking: () => {
        throw new SyscallError("CT_GET", 22, "Invalid argument", "tracked flows")
      },
    },
    /may reach the next VM: CT_GET tracked flows: EINVAL/,
    /^modprobe nf_conntrack_netlink$/,
  ],
  [
    "sysctls",
    "warn",
    { files: { "/proc/sys/fs/protected_symlinks": "0\n" } },
    /fs\.protected_symlinks is 0/,
    /^sysctl -w fs\.protected_symlinks=1,/,
  ],
  ["sysctls", "unknown", { files: { "/proc/sys/fs/protected_fifos": undefined } }, /no protected_fifos/],
  [
    "swap",
    "warn",
    { files: { "/proc/swaps": "Filename\n/dev/zram0 x\n/dev/sda2 partition\n" } },
    /\(\/dev\/sda2\)/,
    /^swapoff/,
  ],
  ["ksm", "warn", { files: { "/sys/kernel/mm/ksm/run": "1\n" } }, /KSM/, /^echo 2/],
  ["smt", "warn", { files: { "/sys/devices/system/cpu/smt/active": "1\n" } }, /SMT/, /echo off/],
  [
    "vulnerabilities",
    "warn",
    {
      lists: { "/sys/devices/system/cpu/vulnerabilities": ["mds"] },
      files: { "/sys/devices/system/cpu/vulnerabilities/mds": "Vulnerable\n" },
    },
    /mds/,
    /microcode/,
  ],
  [
    "kvm-settings",
    "warn",
    { files: { "/sys/module/kvm/parameters/min_timer_period_us": "20\n" } },
    /20 us/,
    /^echo 500/,
  ],
  [
    "kvm-settings",
    "warn",
    {
      files: {
        "/sys/module/kvm/parameters/nx_huge_pages": "Y\n",
        "/sys/devices/system/cpu/vulnerabilities/itlb_multihit": "Not affected\n",
      },
    },
    /slower/,
    /^echo never/,
  ],
  [
    "console",
    "warn",
    { files: { "/proc/cmdline": "ro\n", "/proc/sys/kernel/printk": "7 4 1 7\n" } },
    /level 7/,
    /^sysctl -w kernel\.printk=4/,
  ],
  [
    "leftovers",
    "warn",
    {
      lists: {
        "/s/jail": ["qemu", ".stage-b-1", ".grave"],
        "/s/jail/qemu": ["a-1", "live-1"],
        "/s/jail/.grave": ["c-1"],
        "/s/vms": ["a-1", "live-1"],
        "/r": ["d-1", "live-1", ".x", "a.lock"],
      },
      stats: { "/r/d-1": directory(0, 0o700), "/s/vms/live-1/lock": { ...none, ...directory(0, 0), ino: 77n } },
      files: { "/proc/locks": "1: FLOCK  ADVISORY  WRITE 123 fe:00:77 0 EOF\n" },
    },
    /: \/s\/jail\/qemu\/a-1, \/s\/jail\/\.stage-b-1, \/s\/jail\/\.grave\/c-1, \/r\/d-1$/,
    /banger sweep/,
  ],
  ["user", "warn", { uid: 1000 }, /without a jail/, /sudo/],
  ["path", "warn", { env: { PATH: "/usr/bin:." } }, /PATH has "\."/, /out of PATH/],
  ["path", "warn", { env: { PATH: "/usr/bin:" }, uid: 1000 }, /PATH has ""/, /out of PATH/],
  [
    "directories",
    "fail",
    { writable: () => false, uid: 1000 },
    /\/s cannot be made: \/ cannot be written/,
    /BANGER_STATE_DIR/,
  ],
  ["guests", "unknown", { stats: { "/dev/kvm": undefined } }, /no guest can be tried by KVM: there is no \/dev\/kvm/],
]

test.each(FAULTS.map((fault) => [fault[0], fault] as const))("%s", async (_, [id, verdict, changes, says, hint]) => {
  const found = (await examine(host(changes), checks)).find((each) => each.id === id)
  expect(found).toMatchObject({ id, is: verdict, says: expect.stringMatching(says) })
  if (hint !== undefined) expect(found?.hint).toMatch(hint)
})

test("every check has a fault it finds", () => {
  const found = new Set(FAULTS.map(([id]) => id))
  expect(Object.keys(checks).filter((id) => !found.has(id))).toEqual([])
})

test("a check that cannot look is unknown, and keeps no other from looking", async () => {
  const blind = { ...host(), read: refuses("EACCES", 13) }
  const found = await examine(blind, checks)
  expect(found.find(({ id }) => id === "swap")).toEqual({
    id: "swap",
    is: "unknown",
    says: "it could not be found out: open x: EACCES: no",
  })
  expect(found.find(({ id }) => id === "kernel")?.is).toBe("ok")
})

const program = { path: "/fc", version: [1, 16] as const, jailer: "/jailer" }
const candidates = (result: Partial<typeof program> & { warning?: KnownFault }, because?: Obstacle): Candidates => ({
  find: async () => ({ ...program, ...result }),
  choose: async () => ({ vmm: because === undefined ? firecracker : qemu, program, accel: "tcg", because }),
})

test("what is known against a Firecracker fails; one without its jailer, or of two releases, is told", async () => {
  expect(await checkFirecracker(candidates({}), true)).toMatchObject({
    is: "ok",
    says: "Firecracker 1.16: /fc, /jailer",
  })
  for (const [dangerous, verdict] of [
    [true, "fail"],
    [false, "warn"],
  ] as const) {
    const known = candidates({ warning: { words: "known", dangerous } })
    expect(await checkFirecracker(known, true)).toMatchObject({ is: verdict, says: "known" })
  }
  const alone = { ...candidates({}), find: async () => ({ path: "/fc", version: [1, 16] as const }) }
  expect(await checkFirecracker(alone, true)).toMatchObject({ is: "warn", hint: "get both: banger get firecracker" })
  const refuse = () => Promise.reject(new Failure("FAILED", "two releases", { hint: "h" }))
  const refused: Candidates = { find: refuse, choose: refuse }
  expect(await checkFirecracker(refused, true)).toMatchObject({ is: "warn", hint: "banger get firecracker" })
  expect(await checkChoice(refused, true)).toMatchObject({ is: "fail" })
})

test("which VMM auto takes is told, with why and with what mends it", async () => {
  expect(await checkChoice(candidates({}), true)).toMatchObject({ is: "ok" })
  const because = { words: "firecracker is not in PATH", hint: "run: banger get it; or (so)" }
  expect(await checkChoice(candidates({}, because), true)).toEqual({
    is: "warn",
    says: 'vmm: "auto" takes QEMU, which emulates: firecracker is not in PATH',
    hint: "banger get it; or (so)",
  })
})

/** What nft lists of Docker's rules. */
function docker(): string {
  const of = { family: "ip", table: "filter" }
  const chain = { ...of, name: "FORWARD", type: "filter", hook: "forward", prio: 0, policy: "drop" }
  const rules = [
    { table: { family: "ip", name: "filter" } },
    { chain: { ...of, name: "DOCKER-USER" } },
    { chain },
    { rule: { ...of, chain: "FORWARD", expr: [{ counter: null }, { jump: { target: "DOCKER-USER" } }] } },
  ]
  return JSON.stringify({ nftables: rules })
}

function fails(words: string): Host["tryGuest"] {
  return async () => ({ is: "fails", words })
}

function refuses(code: string, errno: number): () => never {
  return () => {
    const error = new SyscallError("open", errno, "no", "x")
    expect(error.code).toBe(code)
    throw error
  }
}
