/** System calls that older C libraries have no wrapper for; from asm/unistd_64.h and asm-generic/unistd.h. */
const NUMBERS = {
  x64: {
    ...{ chdir: 80, clone: 56, dup3: 292, mprotect: 10, rt_sigaction: 13, setsid: 112, umask: 95 },
    ...{ setpriority: 141, sched_setaffinity: 203, sched_setscheduler: 144 },
    ...{ copy_file_range: 326, execve: 59, getdents64: 217, inotify_add_watch: 254, inotify_init1: 294, ioctl: 16 },
    ...{
      memfd_create: 319,
      mmap: 9,
      mprotect: 10,
      pipe2: 293,
      prctl: 157,
      renameat2: 316,
      rt_sigprocmask: 14,
      prlimit64: 302,
      getgroups: 115,
      setgroups: 116,
      setfsgid: 123,
      setresuid: 117,
      signalfd4: 289,
      statx: 332,
      waitid: 247,
    },
  },
  arm64: {
    ...{ chdir: 49, clone: 220, dup3: 24, mprotect: 226, rt_sigaction: 134, setsid: 157, umask: 166 },
    ...{ setpriority: 140, sched_setaffinity: 122, sched_setscheduler: 119 },
    ...{ copy_file_range: 285, execve: 221, getdents64: 61, inotify_add_watch: 27, inotify_init1: 26, ioctl: 29 },
    ...{
      memfd_create: 279,
      mmap: 222,
      mprotect: 226,
      pipe2: 59,
      prctl: 167,
      renameat2: 276,
      rt_sigprocmask: 135,
      prlimit64: 261,
      getgroups: 158,
      setgroups: 159,
      setfsgid: 152,
      setresuid: 147,
      signalfd4: 74,
      statx: 291,
      waitid: 95,
    },
  },
}

/** From 424 on, calls have one number on every architecture. */
const COMMON = {
  pidfd_send_signal: 424,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pidfd_open: 434,
  clone3: 435,
  close_range: 436,
  openat2: 437,
  mount_setattr: 442,
}

export type SyscallName = keyof (typeof NUMBERS)["x64"] | keyof typeof COMMON

/** The number of a system call on an architecture this program is built for. Throws for any other. */
export function syscallNumber(name: SyscallName, arch: string = process.arch): number {
  if (arch !== "x64" && arch !== "arm64")
    throw new Error(`no system call numbers for ${arch}: x64 and arm64 are supported`)
  return TABLES[arch][name]
}

// --- internal ---

const TABLES = { x64: { ...COMMON, ...NUMBERS.x64 }, arm64: { ...COMMON, ...NUMBERS.arm64 } }
