/** What a kernel said of its panic in a console's last bytes. */
export interface PanicWords {
  readonly words: string
  /** Whether nothing but the kernel spoke after: as after a panic, and not after a program's line that looks like one. */
  readonly last: boolean
}

/** Finds the last panic in a console's last bytes. Pure. */
export function findPanic(consoleTail: string): PanicWords | undefined {
  const found = [...consoleTail.matchAll(PANIC)].at(-1)
  if (found === undefined) return undefined
  const [line, stamp, words = ""] = found
  const after = consoleTail.slice(found.index + line.length).split(/[\r\n]+/)
  // A line that was cut short may be anybody's.
  const whole = after.slice(0, -1).filter((text) => text !== "")
  const isKernels = (text: string) => (stamp === undefined ? UNSTAMPED : STAMPED).test(text) && !RESTART.test(text)
  return { words: words.trim(), last: whole.every(isKernels) }
}

// --- internal ---

/** The time before a kernel's line, and who said it where the kernel tells (CONFIG_PRINTK_CALLER). */
const STAMP = String.raw`\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? `
const PANIC = new RegExp(String.raw`^(${STAMP})?Kernel panic - not syncing: ([^\r\n]*)`, "gm")
const STAMPED = new RegExp(`^${STAMP}`)

/** An orderly end (kernel/reboot.c): a kernel that panics restarts without. */
const RESTART = /reboot: (?:Restarting system|Power down|System halted|machine restart)/

/** What kernels that tell no times say after a panic (kernel/panic.c, dump_stack, x86's show_regs). */
const UNSTAMPED = new RegExp(
  [
    String.raw`^(?:CPU: \d|Hardware name: |Call Trace:|Modules linked in:|Workqueue: |Code: |Dumping ftrace|Tainted: )`,
    "^ *</?(?:TASK|IRQ|NMI|#DF)>",
    String.raw`^ *(?:\? )?[\w.]+\+0x[\da-f]+/0x[\da-f]+`,
    String.raw`^(?:RIP|RSP|RAX|RDX|RBP|R\d\d|FS|CS|CR2|DR0|DR3|PKRU): `,
    String.raw`^(?:Kernel Offset: |---\[ end |Rebooting in \d|ACPI MEMORY or I/O RESET_REG)`,
  ].join("|"),
)
