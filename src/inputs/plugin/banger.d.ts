// The types of a plugin. `banger init` puts this file beside your plugin as banger.d.ts.
declare module "banger" {
  /**
   * Describes a VM and what to do around its life; or, without a `kernel`, only hooks for `banger sweep --plugin`. Returns its
   * argument: the call gives your editor the types.
   */
  export function definePlugin(plugin: Plugin | SweepGuard): Plugin | SweepGuard

  /** A plugin that only says which dead sockets a sweep keeps. */
  export interface SweepGuard extends Required<Pick<Hooks, "sweepCandidate">> {
    /** It describes no VM. */
    kernel?: undefined
    timeouts?: Timeouts | undefined
  }

  /** The default export of a plugin file. */
  export interface Plugin extends Spec, Hooks {
    /** Hooks of other modules. Their `pre…` hooks run before this plugin's own, their `post…` hooks after. */
    use?: readonly Hooks[] | undefined
  }

  /** What to boot. Relative paths start from the plugin file's directory. */
  export interface Spec {
    /** A DNS label, unique among live VMs. Default: the plugin file's name. */
    name?: string | undefined
    /** The kernel: bzImage or ELF vmlinux. `"get:NAME"`, here and for other files, is an image that `banger get` fetched. */
    kernel: string
    initrd?: string | undefined
    /** The kernel command line. Default: `console=ttyS0 reboot=k panic=1`. */
    bootArgs?: string | undefined
    /** Words that are added to `bootArgs`, or to its default: `"quiet"` keeps the kernel's own lines from the console. */
    extraBootArgs?: string | undefined
    /** 1 to 32. Default: 1. */
    vcpus?: number | undefined
    /** With its unit, in whole MiB: `"256M"`, `"2G"`. Default: `"256M"`. */
    memory?: string | undefined
    /** Disks in the order the guest sees them (/dev/vda, /dev/vdb, …), the root disk first; at most 16. */
    drives?: (Drive | PersistentDrive)[] | undefined
    /**
     * `true`: a tap on one of banger's bridges, with an address and NAT (root only). `"user"`: QEMU's user-mode network,
     * which needs no privilege. Default: no network.
     */
    network?: boolean | "user" | Network | undefined
    /** Default: `"auto"`. */
    vmm?: "auto" | "firecracker" | "qemu" | undefined
    /** How QEMU runs the guest: by KVM, or emulated (`"tcg"`). Default: `"auto"`, KVM where guests run by it. */
    accel?: "auto" | "kvm" | "tcg" | undefined
    /** Settings that only Firecracker has; QEMU ignores them. */
    firecracker?: FirecrackerSettings | undefined
    /**
     * Whether the VMM runs in a chroot of its own, as a uid of its own. Default: true as root, and where root's helper
     * can be asked by sudo (docs/sudo.md); other users have no jail.
     * `{ uid, gid }` chooses the uid and gid: not 0, not a login user's, not another VM's.
     */
    jail?: boolean | { uid?: number | undefined; gid?: number | undefined } | undefined
    /** How much of the host the VMM may use; its cgroup enforces this (root only, cgroup v2). */
    limits?: Limits | undefined
    timeouts?: Timeouts | undefined
    console?: ConsoleOptions | undefined
    /**
     * Which end by the guest itself is well. Default: `"any"`: a reset or a power-off, but no reset before the console has a word.
     */
    ends?: "any" | "reset" | "poweroff" | undefined
    /**
     * Whether the supervisor boots the VM again when the VM ended and nobody asked it to: never (`"no"`, the default),
     * when its run has failed, or always. A first boot that fails is not tried again. Where `banger-boot.service` is enabled,
     * the host's boot starts a VM of `"always"` again too, also one that was stopped before; of `"unless-stopped"` only one
     * that nobody had stopped.
     */
    restart?: RestartPolicy | RestartOptions | undefined
    /**
     * The names of VMs that the host's boot starts first, where it starts them: this one is started when their postBoot hooks are
     * done, or when they could not be started. Default: none.
     */
    after?: string | string[] | undefined
    /**
     * Lets `banger run --restore` make several VMs of one snapshot. Unsafe: their guests begin with the same state of
     * `/dev/urandom`, so that keys, session ids and TCP sequence numbers of one tell those of the other; and with the same
     * clock, host keys, machine id, address and MAC. Default: false.
     */
    unsafeClone?: boolean | undefined
  }

  export type RestartPolicy = "no" | "on-failure" | "unless-stopped" | "always"

  export interface RestartOptions {
    /** Default: `"on-failure"`. */
    policy?: RestartPolicy | undefined
    /** At most this many restarts in a row; a VM that ran for a minute begins a new row. Default: 5. */
    limit?: number | undefined
    /** The wait before the first restart; it doubles with each, up to 5m. Default: `"1s"`. */
    delay?: string | undefined
  }

  /** Fields that replace fields of the spec, each as a whole. */
  export type SpecChanges = Partial<Spec>

  /** A VM's network. */
  export interface Network {
    /** `"user"` takes only `mac` and `ports`. Default: `"tap"`. */
    mode?: "tap" | "user" | undefined
    /**
     * A bridge of banger's own, made where it is missing: `"bgr0"`, or `"bgr-"` and a name. Or a bridge of yours, which is there:
     * banger puts a tap on it, and the guest asks your DHCP server for an address. That takes no `subnet`, `ports`, `nat`,
     * `forward`, `ipv6`, `netns` and `dns`. Default: `"bgr0"`.
     */
    bridge?: string | undefined
    /** The bridge's IPv4 subnet; the host has its first address. Default: `"10.213.0.0/16"` for bgr0, the next for bgr1, … */
    subnet?: string | undefined
    /**
     * The guest's address. Default: the first free one of the subnet. On a bridge of yours: the only one that the guest may use;
     * default: any.
     */
    address?: string | undefined
    /** The guest's MAC. Default: made from the VM's id. */
    mac?: string | undefined
    /** On a bridge of yours that filters VLANs: the one VLAN of the guest, 1 to 4094, untagged. Default: the bridge's. */
    vlan?: number | undefined
    /**
     * What a frame may carry, in bytes, 68 to 65535, for the bridge, the tap and the guest. Default: what this host's ways out carry,
     * at most 1500; on a bridge of yours what that carries, and `mtu` is only what the guest is told.
     */
    mtu?: number | undefined
    /** Ports of the host that lead to the guest: `"8080:80"`, `"53:53/udp"`, `"127.0.0.1:2222:22"`. */
    ports?: string[] | undefined
    /** Whether the guest's packets leave with the host's address. Default: true. */
    nat?: boolean | undefined
    /**
     * Whether this VM and the other VMs of the bridge are out of each other's reach. Default: true; on a bridge of yours false,
     * and `true` keeps it from all isolated ports.
     */
    isolate?: boolean | undefined
    /** Switches the host's IP forwarding on when it is off. It stays on. Default: false. */
    forward?: boolean | undefined
    /** Adds an IPv6 address (unique local). Default: false. */
    ipv6?: boolean | undefined
    /** Runs the VMM in a network namespace of its own that holds only this network. Default: false. */
    netns?: boolean | undefined
    /** Name servers for the guest, at most two. Default: the host's. */
    dns?: string[] | undefined
  }

  /** Limits of the VM's cgroup. */
  export interface Limits {
    /** The VMM's memory, which is more than the guest's: `"512M"`. A number alone counts bytes. */
    memory?: string | undefined
    /** How many processors' time: `1.5`. */
    cpus?: number | undefined
    /** Threads and processes. QEMU starts up to 64 when its drives are busy, and ends when it cannot. */
    pids?: number | undefined
    /** Rates per second, by block device. */
    io?: IoLimit[] | undefined
  }

  export interface IoLimit {
    /** The host's block device: `"/dev/sda"`. */
    device: string
    /** From 4K on. */
    readBytes?: string | undefined
    writeBytes?: string | undefined
    readOps?: number | undefined
    writeOps?: number | undefined
  }

  /**
   * A raw disk image or a block device. Of a writable image the VM gets a private copy, so that the image does not change; what is only
   * read, and a block device, is used itself.
   */
  export interface Drive {
    /** The disk's serial number in the guest: a-z, 0-9 and _, at most 20 long. */
    id?: string | undefined
    /** A guest sees whole sectors of 512 bytes: an image of your own must have them, a staged file or a copy is padded. */
    path: string
    /** Default: false. */
    readonly?: boolean | undefined
    /**
     * Where the guest's writes to an image go. `"private"`, the default: to a copy that goes with the VM; to keep what is in it, copy the
     * disk out of `ctx.dir` in postStop, or take a disk that persists. `"shared"`: to the image itself; in a jail only where that is the
     * jail uid's alone.
     */
    write?: "private" | "shared" | undefined
    /** Adds `root=/dev/vdX` and `ro` or `rw` to the command line. One drive at most. Default: false. */
    root?: boolean | undefined
    /**
     * What is in the image. `"qcow2"`: banger converts it into a raw copy of the VM's own. Default: raw; then an image that begins as
     * qcow2, VMDK, VHDX, gzip, zstd, xz … does is refused, unless you say `"raw"`.
     */
    format?: "raw" | "qcow2" | undefined
    /**
     * How the image gets into the jail. Default: what suits the image best. `"bind"` (writable only when the image is the
     * jail uid's alone), `"clone"` (shares blocks), `"copy"`, `"link"` (only when the image is the jail uid's alone).
     */
    stage?: "bind" | "clone" | "copy" | "link" | undefined
  }

  /**
   * A disk that keeps its content: over stop, restart, `banger rm` of the VM, and updates. One VM at a time has it, in a jail and
   * without one, on both VMMs. What the guest has synced is on the host's disk. `banger disk` lists, removes, copies and resizes.
   */
  export interface PersistentDrive {
    /** The disk's name on this host: a DNS label. */
    persist: string
    /** In whole MiB, `"10G"`; needed where the disk is first made, unless it has a `path`. A larger one later makes it grow. */
    size?: string | undefined
    /** The image that it is first made from; not looked at later. Default: an empty disk. */
    path?: string | undefined
    /** What is in that image, as of a `Drive`. */
    format?: "raw" | "qcow2" | undefined
    /** As of a `Drive`. */
    id?: string | undefined
    readonly?: boolean | undefined
    root?: boolean | undefined
  }

  /** Times with their unit: `"500ms"`, `"30s"`, `"5m"`. */
  export interface Timeouts {
    /** For the VMM to answer. Default: 30s. */
    start?: string | undefined
    /** For the guest to stop after Ctrl-Alt-Del; then banger kills it. Default: 30s. */
    stop?: string | undefined
    /** For the whole run; then banger stops the VM, and the run has failed. Default: no limit. */
    run?: string | undefined
    /** For each hook without a limit of its own. Default: 60s. */
    hook?: string | undefined
    configure?: string | undefined
    preBoot?: string | undefined
    postBoot?: string | undefined
    preStop?: string | undefined
    postStop?: string | undefined
    sweepCandidate?: string | undefined
  }

  export interface ConsoleOptions {
    /** How much of the console is kept: the newest bytes, between half of this and all of it. Default: `"16M"`. */
    limit?: string | undefined
  }

  /**
   * Code around a VM's life. Every hook may be async, and has a time limit; then banger aborts `ctx.signal`.
   * A hook may abort a start, never a stop.
   */
  export interface Hooks {
    /** Before banger acquires anything. May return changes to the spec. Throwing aborts the run. */
    configure?(spec: Readonly<Spec>, ctx: ConfigureContext): SpecChanges | undefined | Promise<SpecChanges | undefined>
    /** Before the VMM starts: stage files, add drives. Throwing aborts the run, and banger releases everything. */
    preBoot?(ctx: PreBootContext): void | Promise<void>
    /** The VM runs. Throwing stops the VM, and the run has failed. */
    postBoot?(ctx: RunningContext): void | Promise<void>
    /** Before a stop that banger asks for. When it throws, banger reports that and continues the stop. */
    preStop?(ctx: RunningContext): void | Promise<void>
    /** The VMM is gone, its files are still there. Runs once, however the VM ended. When it throws, banger reports that. */
    postStop?(ctx: PostStopContext): void | Promise<void>
    /** `banger sweep --plugin`: before it removes a dead socket. `"keep"` spares it; throwing spares it too, and is reported. */
    sweepCandidate?(ctx: SweepContext): "keep" | undefined | Promise<"keep" | undefined>
  }

  export interface ConfigureContext {
    /** The words after `--` on the command line. */
    readonly args: readonly string[]
    readonly log: Log
    /** Aborted when the hook's time is up, or the run is interrupted. */
    readonly signal: AbortSignal
  }

  export interface HookContext extends ConfigureContext {
    readonly vm: Vm
    /** The directory on the host that has the staged files: the jail's root. It is removed after the VM. */
    readonly dir: string
    /** What the plugin's hooks have kept for this VM, and nobody has given back, when this hook began. */
    readonly kept: readonly Kept[]
  }

  /** Hooks that may make things of the host's for their VM. */
  export interface KeepingContext extends HookContext {
    /**
     * Makes a thing of the host's for this VM, on whose journal it is before it is made: banger gives it back after the VM, the last
     * one first, after postStop, and also where banger was killed, without the plugin. `command`: the hook makes it itself, once this
     * has resolved. Needs root, but for `command`.
     */
    keep(thing: LoopThing | MappedThing | SnapshotThing | MountThing | CommandThing): Promise<Kept>
  }

  /** A loop device of an image. */
  export interface LoopThing {
    kind: "loop"
    /** An absolute path. */
    file: string
    readonly?: boolean | undefined
    /** Where in the file the device begins, and how much of it: in bytes. Default: the whole file. */
    offset?: number | undefined
    size?: number | undefined
  }

  /** A device of the device mapper: a snapshot, a part, an encrypted disk, … */
  export interface MappedThing {
    kind: "dm"
    /** No other device has it. */
    name: string
    /** Its table, a line each, as dmsetup(8) takes it: `"0 2048 linear /dev/sda 0"`. */
    table: string[]
    readonly?: boolean | undefined
  }

  /** A snapshot of a logical volume, which goes with the VM. */
  export interface SnapshotThing {
    kind: "lvm"
    /** `"group/volume"`. */
    origin: string
    /** Room for what changes: `"1G"`. Left out where the origin is a thin volume. */
    size?: string | undefined
  }

  /** A mount on a directory, without set-user-ID programs and devices. */
  export interface MountThing {
    kind: "mount"
    /** The directory, an absolute path without symlinks. */
    target: string
    /** A device; with no `type`, a directory that is to be seen there too. */
    source: string
    /** The file system: `"ext4"`. */
    type?: string | undefined
    /** As mount(8) takes them behind -o, one a word. */
    options?: string[] | undefined
    readonly?: boolean | undefined
  }

  /** Anything else: what it takes to know it and to give it back. Programs by absolute path, run without a shell. */
  export interface CommandThing {
    kind: "command"
    /** What it is, for people. */
    what: string
    /** Ends with 0 while it is there and the same, with 1 once it is gone; anything else: nobody can tell. It has 10 s. */
    still: string[]
    /** Gives it back. It has 60 s; then `still` is asked again. */
    release: string[]
  }

  /** A thing of the host's that a plugin keeps for its VM. */
  export interface Kept {
    readonly kind: "loop" | "dm" | "lvm" | "mount" | "command"
    /** Which of the VM's things it is, from 1 on. */
    readonly number: number
    /** What it is, for people. */
    readonly what: string
    /** The block device, for `drives.add`; of a `mount` its directory. Undefined of a `command`. */
    readonly path: string | undefined
  }

  export interface PreBootContext extends KeepingContext {
    readonly stage: Stage
    readonly drives: {
      /** Adds a disk after those of the spec. */
      add(drive: Drive): void
    }
  }

  export interface RunningContext extends KeepingContext {
    /**
     * Saves the VM (state, memory, its copies of the disks) to a new directory, for `banger run --restore`. The VM is paused
     * meanwhile, and continues afterwards. Firecracker in a jail only. `base`: the directory of this VM's last snapshot, or of
     * the one that it was restored from. Then only the memory that changed since is read from the VM; the new snapshot is a
     * whole one all the same. Needs `firecracker.machine.track_dirty_pages`.
     */
    snapshot(dir: string, options?: { base?: string | undefined }): Promise<void>
    /** Halts the guest until `resume`. A stop resumes a paused guest first. */
    pause(): Promise<void>
    resume(): Promise<void>
    /** Changes of the drives while the guest runs. Firecracker only. */
    readonly drives: RunningDrives
    /** Changes of the network cards while the guest runs. Firecracker only. */
    readonly network: RunningNetwork
  }

  /** Each takes the card's id: `eth0` is the plugin's own. A VM that is booted again has the plugin's card. */
  export interface RunningNetwork {
    /** Changes how much a card may do. A limiter that is left out stays. `id`: default `eth0`. */
    update(limits: {
      id?: string | undefined
      rx_rate_limiter?: RateLimiter | undefined
      tx_rate_limiter?: RateLimiter | undefined
    }): Promise<void>
    /**
     * Plugs in another card, on a tap that banger makes as it makes the plugin's; resolves to its place in the network. This
     * and `remove` need root, `firecracker: { pci: true }` and Firecracker 1.16. The guest finds it by
     * `echo 1 > /sys/bus/pci/rescan`, and must be told its address.
     */
    add(card: NetworkCard): Promise<VmNetwork>
    /** Takes a card out, and releases its tap, address and ports. The guest must have let go of it. */
    remove(id: string): Promise<void>
  }

  /** A network card for a guest that runs. */
  export interface NetworkCard extends Omit<Network, "mode" | "netns" | "dns"> {
    /** a-z, 0-9 and _, at most 20 long. */
    id: string
    rx_rate_limiter?: RateLimiter | undefined
    tx_rate_limiter?: RateLimiter | undefined
  }

  /** Each takes the drive's id: its own, or `disk0`, `disk1`, … A VM that is booted again has the plugin's drives. */
  export interface RunningDrives {
    /**
     * Gives a drive another image, or block device, and releases the file that it had. In a jail banger makes a private copy
     * of the image; without one the VM uses the image itself. The guest must not use the drive meanwhile.
     */
    replace(id: string, path: string): Promise<void>
    /** Changes how much a drive may do. A bucket of size 0 lifts its limit, one that is left out stays. */
    update(id: string, settings: { rate_limiter: RateLimiter }): Promise<void>
    /**
     * Plugs in another drive, with an image as `replace` takes it. This and `remove` need `firecracker: { pci: true }` and
     * Firecracker 1.16. The guest finds it by `echo 1 > /sys/bus/pci/rescan`.
     */
    add(drive: { id: string; path: string; readonly?: boolean | undefined }): Promise<void>
    /** Takes a drive out, but for the root file system's, and releases its file. The guest must have let go of it. */
    remove(id: string): Promise<void>
  }

  export interface PostStopContext extends HookContext {
    readonly exit: Exit
    /** True when an earlier banger began this hook and was killed in the middle of it. */
    readonly again: boolean
    /** Makes the run fail, with this reason, although its VM may have ended well. All is cleaned up all the same. */
    fail(reason: string): void
    /** The exit status of `banger run`, from 0 to 255: what is not 0 makes the run fail. `exit.guestStatus`, at first. */
    exitCode: number | undefined
  }

  /** A socket that nothing is bound to, in any network namespace, and that the sweep is about to remove. */
  export interface SweepContext {
    readonly path: string
    /** Its owner. */
    readonly uid: number
    /** `device:inode`. */
    readonly inode: string
    /** How long ago it was made or last changed. */
    readonly ageSeconds: number
    readonly log: Log
    /** Aborted when the hook's time is up. */
    readonly signal: AbortSignal
  }

  export interface Vm {
    readonly id: string
    readonly name: string
    readonly vmm: "firecracker" | "qemu"
    readonly vcpus: number
    readonly memoryMiB: number
    /** The serial console's file. While the VM runs, the file may begin with a hole: `banger logs` skips the hole. */
    readonly consoleLog: string
    /** The VMM's process, while there is one. */
    readonly pid: number | undefined
    /** The VM's place in its network, from preBoot on; undefined without a network. */
    readonly network: VmNetwork | undefined
  }

  export interface VmNetwork {
    readonly mode: "tap" | "user"
    /** The guest's IPv4 address. Undefined on a bridge of yours, unless the plugin names one. */
    readonly address: string | undefined
    /** How many bits of `address` are the subnet's. Undefined on a bridge of yours. */
    readonly prefix: number | undefined
    /**
     * The host's address on the bridge, or the address that stands for the host in the user-mode network. Undefined on a bridge of
     * yours.
     */
    readonly gateway: string | undefined
    /** Undefined where the VMM chooses it. */
    readonly mac: string | undefined
    /** The guest's IPv6 address, with `ipv6`. */
    readonly ipv6: string | undefined
    /** The host's interface for this VM: its tap, or the one that leads to its namespace. Undefined in user mode. */
    readonly interface: string | undefined
    /** Undefined in user mode. */
    readonly bridge: string | undefined
    /** The file of the VM's network namespace, for `nsenter --net=`. */
    readonly netns: string | undefined
    readonly ports: readonly {
      readonly protocol: "tcp" | "udp"
      readonly address?: string | undefined
      readonly host: number
      readonly guest: number
    }[]
  }

  /** Messages on standard error, with the VM's name. */
  export interface Log {
    debug(message: string): void
    info(message: string): void
    warn(message: string): void
    error(message: string): void
  }

  /**
   * Puts files where the VMM finds them, under a relative name without `..`. A name that is taken is an error. Each function
   * returns the path that the file has while the VM runs, for `drives.add`.
   */
  export interface Stage {
    /** A new file with this content. Once it is a drive, it is padded with zeros to whole sectors. */
    write(name: string, content: string | Uint8Array): Promise<string>
    /** A copy of a file. It shares blocks with the source where the file system can, and keeps the source's holes where not. */
    copy(name: string, source: string): Promise<string>
    /** A second name for a file of your own on the same file system. */
    link(name: string, source: string): Promise<string>
  }

  /** How a VM ended. */
  export interface Exit {
    readonly reason:
      | "guest reset"
      | "guest powered off"
      | "guest panicked"
      | "stopped"
      | "killed"
      | "crashed"
      | "failed to start"
      /** The VM ended while no banger watched, and its console does not tell how. */
      | "lost"
    /** Whether banger asked the VM to end. */
    readonly requested: boolean
    /** The VMM's exit code, when it exited. */
    readonly code: number | null
    /** The signal that ended the VMM, when one did. */
    readonly signal: string | null
    /** The kernel's own words, when the guest's kernel panicked. */
    readonly panic: string | undefined
    /** The VMM's last words on standard error. */
    readonly detail: string | undefined
    /**
     * The exit status of what the guest was to do, where its last console lines tell it as banger's own guest does
     * (`banger: exit status 3`). When it is not 0 the run fails with it.
     */
    readonly guestStatus?: number | undefined
  }
}
