declare module "banger" {
  /** Settings in the words of Firecracker's API. */
  export interface FirecrackerSettings {
    machine?:
      | {
          smt?: boolean | undefined
          track_dirty_pages?: boolean | undefined
          huge_pages?: "None" | "2M" | undefined
          /**
           * Makes the processor look like an older one: C3, T2, T2S, T2CL on some Intel, T2A on some AMD, V1N1 on some Arm.
           * @deprecated by Firecracker since 1.5: use `cpu_config`.
           */
          cpu_template?: "None" | "C3" | "T2" | "T2S" | "T2CL" | "T2A" | "V1N1" | undefined
        }
      | undefined
    cpu_config?: CpuConfig | undefined
    /** By the drive's id: its own, or `disk0`, `disk1`, … */
    drives?: { [id: string]: FirecrackerDrive } | undefined
    /** Host programs connect to `vsock.sock` in `ctx.dir` and write `CONNECT <port>\\n`. */
    vsock?: { guest_cid: number } | undefined
    entropy?: { rate_limiter?: RateLimiter | undefined } | undefined
    balloon?:
      | {
          amount_mib: number
          deflate_on_oom: boolean
          stats_polling_interval_s?: number | undefined
          /** This and the next from Firecracker 1.14 on. */
          free_page_hinting?: boolean | undefined
          free_page_reporting?: boolean | undefined
        }
      | undefined
    /**
     * Files that the guest sees as persistent memory: /dev/pmem0, /dev/pmem1, … In a jail a writable one is a private copy,
     * padded to whole 2 MiB. From Firecracker 1.14 on.
     */
    pmem?: FirecrackerPmem[] | undefined
    /** Disks that a program of yours serves at a unix socket (vhost-user-blk), behind the other disks. From 1.6 on. */
    vhost_user?: FirecrackerVhostUser[] | undefined
    /** Memory that can be plugged into the running guest, which has none of it at first. From Firecracker 1.14 on. */
    memory_hotplug?:
      | {
          /** A multiple of the slots' size, at most 524288. */
          total_size_mib: number
          /** What the guest plugs at once: a power of 2. Default: 2. */
          block_size_mib?: number | undefined
          /** What the host gives at once: a multiple of the blocks' size. Default: 128. */
          slot_size_mib?: number | undefined
        }
      | undefined
    /** Settings of the network card. */
    network?:
      | {
          rx_rate_limiter?: RateLimiter | undefined
          tx_rate_limiter?: RateLimiter | undefined
          /** From Firecracker 1.16 on. */
          mtu?: number | undefined
        }
      | undefined
    /** Metadata that the guest reads over its network card, by default at 169.254.169.254. `data`: at most 50 KiB. */
    mmds?:
      | {
          version?: "V1" | "V2" | undefined
          ipv4_address?: string | undefined
          /** From Firecracker 1.13 on. */
          imds_compat?: boolean | undefined
          data?: { [key: string]: unknown } | undefined
        }
      | undefined
    /** What Firecracker writes to firecracker.log. Default: warnings. */
    logger?:
      | {
          level?: "Off" | "Error" | "Warning" | "Info" | "Debug" | "Trace" | undefined
          show_level?: boolean | undefined
          show_log_origin?: boolean | undefined
          /** From Firecracker 1.6 on. */
          module?: string | undefined
        }
      | undefined
    /** Writes metrics to metrics.json beside console.log, one JSON object a line; the newest MiB is kept. */
    metrics?: boolean | undefined
    /** Limits the bytes of the console. From Firecracker 1.16 on. */
    serial?: { rate_limiter: TokenBucket } | undefined
    /**
     * Puts the guest's devices on a PCI bus, and lets drives and cards come and go while it runs. The guest's kernel needs
     * PCI. Default: false, and Firecracker adds `pci=off` to the command line. From Firecracker 1.13 on.
     */
    pci?: boolean | undefined
    /**
     * The unix socket of a program of yours that gives a restored guest its memory, page by page (userfaultfd), instead of the
     * snapshot's memory file. An absolute path. Only `--restore` uses it.
     */
    uffd?: string | undefined
    /** Limits of the jailer: the largest file that the VMM may write, in bytes (disks, logs and console too), and open files. */
    resource_limit?: { fsize?: number | undefined; "no-file"?: number | undefined } | undefined
  }

  export interface FirecrackerPmem {
    /** Letters, digits and _. */
    id: string
    path: string
    /** Whether the root file system is on it. One drive or memory at most. */
    root_device?: boolean | undefined
    /** A guest that writes to it all the same may be ended. */
    read_only?: boolean | undefined
    /** From Firecracker 1.16 on. */
    rate_limiter?: RateLimiter | undefined
  }

  export interface FirecrackerVhostUser {
    /** Letters, digits and _. */
    id: string
    /** The jail's uid must have the right to write to it. */
    socket: string
    root_device?: boolean | undefined
    partuuid?: string | undefined
    cache_type?: "Unsafe" | "Writeback" | undefined
  }

  export interface FirecrackerDrive {
    /** The partition with the root file system; of the root drive alone. */
    partuuid?: string | undefined
    cache_type?: "Unsafe" | "Writeback" | undefined
    io_engine?: "Sync" | "Async" | undefined
    rate_limiter?: RateLimiter | undefined
  }

  /**
   * Changes of the processor that the guest sees. Numbers are texts with their base: `"0x1"`, `"0b1"`. A bitmap is `0b` and
   * its bits, the highest first: 0, 1, `x` for a bit that stays, and `_` anywhere.
   */
  export interface CpuConfig {
    /** Numbers of KVM capabilities that must be there; with `!`, that need not be: `["121", "!171"]`. */
    kvm_capabilities?: string[] | undefined
    /** x86-64 only. */
    cpuid_modifiers?:
      | {
          leaf: string
          subleaf: string
          flags: number
          modifiers: { register: "eax" | "ebx" | "ecx" | "edx"; bitmap: string }[]
        }[]
      | undefined
    /** x86-64 only. */
    msr_modifiers?: { addr: string; bitmap: string }[] | undefined
    /** arm64 only. */
    reg_modifiers?: { addr: string; bitmap: string }[] | undefined
    /** arm64 only. */
    vcpu_features?: { index: number; bitmap: string }[] | undefined
  }

  export interface RateLimiter {
    bandwidth?: TokenBucket | undefined
    ops?: TokenBucket | undefined
  }

  export interface TokenBucket {
    size: number
    /** Milliseconds. */
    refill_time: number
    one_time_burst?: number | undefined
  }
}
