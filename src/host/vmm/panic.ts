/** A kernel's words about its panic. */
export interface PanicWords {
  readonly words: string
  /** Whether only the kernel printed afterwards: after a line of a program that looks like a panic, others print too. */
  readonly last: boolean
}

/** The last panic in a console's last bytes. Pure. */
export function findPanic(consoleTail: string): PanicWords | undefined {
  const found = [...consoleTail.matchAll(PANIC)].at(-1)
  if (found === undefined) return undefined
  const [line, stamp, words = ""] = found
  const after = consoleTail.slice(found.index + line.length).split(/[\r\n]+/)
  // The last line may be cut short, and then be anyone's.
  const whole = after.slice(0, -1).filter((text) => text !== "")
  const isKernels = (text: string) => (stamp === undefined ? UNSTAMPED : STAMPED).test(text) && !RESTART.test(text)
  return { words: words.trim(), last: whole.every(isKernels) }
}

// --- internal ---

/** The time before a kernel's line, and the caller where the kernel prints one (CONFIG_PRINTK_CALLER). */
const STAMP = String.raw`\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? `
const PANIC = new RegExp(String.raw`^(${STAMP})?Kernel panic - not syncing: ([^\r\n]*)`, "gm")
const STAMPED = new RegExp(`^${STAMP}`)

/** An orderly end (kernel/reboot.c); a kernel that restarts after a panic does not print it. */
const RESTART = /reboot: (?:Restarting system|Power down|System halted|machine restart)/

/** What a kernel without times prints after a panic (kernel/panic.c, dump_stack, x86's show_regs). */
const UNSTAMPED = new RegExp(
  [
    String.raw`^(?:CPU: \d|Hardware name: |Call Trace:|Modules linked in:|Workqueue: |Code: |Dumping ftrace|Tainted: )`,
    "^ *</?(?:TASK|IRQ|NMI|#DF)>",
    String.raw`^ *(?:\? )?[\w.]+\+0x[\da-f]+/0x[\da-f]+`,
    String.raw`^(?:RIP|RSP|RAX|RDX|RBP|R\d\d|FS|CS|CR2|DR0|DR3|PKRU): `,
    String.raw`^(?:Kernel Offset: |---\[ end |Rebooting in \d|ACPI MEMORY or I/O RESET_REG)`,
  ].join("|"),
)
