import * as v from "valibot"

const FLAGS_WORDS = "a whole number from 0 to 4294967295"
const u32 = v.pipe(
  v.number(FLAGS_WORDS),
  v.check((n) => isBelow(n, 2 ** 32), FLAGS_WORDS),
)

const CAPABILITY_WORDS = 'a KVM capability\'s number as a text, with "!" to leave its check out: "121", "!121"'
const capability = v.pipe(
  v.string(CAPABILITY_WORDS),
  v.check((text) => /^!?\d{1,10}$/.test(text) && isBelow(Number(text.replace("!", "")), 2 ** 32), CAPABILITY_WORDS),
)

/**
 * A custom CPU configuration, in the words of Firecracker's `/cpu-config`. Firecracker itself looks at a bitmap and at a
 * number only when it gets the request; here both are checked when the plugin is read.
 */
export const cpuConfig = v.strictObject({
  kvm_capabilities: v.optional(v.array(capability, "a list of KVM capabilities")),
  /** x86-64 alone has these two. */
  cpuid_modifiers: v.optional(
    v.array(
      v.strictObject({
        leaf: number(32),
        subleaf: number(32),
        flags: u32,
        modifiers: v.array(
          v.strictObject({
            register: v.picklist(["eax", "ebx", "ecx", "edx"], '"eax", "ebx", "ecx" or "edx"'),
            bitmap: bitmap(32),
          }),
          "a list of registers",
        ),
      }),
      "a list of CPUID leaves",
    ),
  ),
  msr_modifiers: v.optional(
    v.array(v.strictObject({ addr: number(32), bitmap: bitmap(64) }), "a list of model-specific registers"),
  ),
  /** arm64 alone has these two. */
  reg_modifiers: v.optional(
    v.array(v.pipe(v.strictObject({ addr: number(64), bitmap: bitmap(128) }), registerFits()), "a list of registers"),
  ),
  vcpu_features: v.optional(
    v.array(v.strictObject({ index: u32, bitmap: bitmap(32) }), "a list of a processor's features"),
  ),
})

// --- internal ---

function isBelow(n: number, limit: number): boolean {
  return Number.isSafeInteger(n) && n >= 0 && n < limit
}

/** A number with its base, as Firecracker reads it. */
function number(bits: number) {
  const words = `a number of ${bits} bits as a text, with its base: "0x1" or "0b1"`
  return v.pipe(
    v.string(words),
    v.check((text) => /^0(?:x[\da-f]{1,32}|b[01]{1,128})$/i.test(text) && BigInt(text) < 1n << BigInt(bits), words),
  )
}

/** A bitmap: what is 0, what is 1, and what stays (x), the highest bit first. */
function bitmap(bits: number) {
  const words = `"0b" and 1 to ${bits} characters: 0, 1, x for a bit that stays, and _ between them`
  return v.pipe(
    v.string(words),
    v.check((text) => /^0b[01x_]{1,400}$/.test(text) && isBetween(bitsOf(text).length, 1, bits), words),
  )
}

function bitsOf(text: string): string {
  return text.slice(2).replaceAll("_", "")
}

function isBetween(n: number, least: number, most: number): boolean {
  return n >= least && n <= most
}

/** A register's address says how wide it is (KVM_REG_SIZE_MASK of linux/kvm.h). */
function registerFits() {
  const words = "a register of 32, 64 or 128 bits, and a bitmap that sets no more of them"
  return v.check<{ readonly addr: string; readonly bitmap: string }, string>(({ addr, bitmap: text }) => {
    const bytes = 2 ** Number((BigInt(addr) >> 52n) & 15n)
    return [4, 8, 16].includes(bytes) && bitsOf(text).replace(/^x+/, "").length <= bytes * 8
  }, words)
}
