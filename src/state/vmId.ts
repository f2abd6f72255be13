const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

/** A VM's name: a DNS label of at most 63 characters. */
export const NAME_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/** The pattern in words. */
export const NAME_WORDS = "a DNS label: a-z, 0-9 and -, at most 63 long, not beginning or ending with -"

/** A fresh id for one boot of the VM with this name: `[a-z0-9-]`, at most 28 characters, 41 random bits. */
export function newVmId(name: string): string {
  const random = crypto.getRandomValues(new Uint32Array(8))
  const suffix = Array.from(random, (value) => LETTERS[value % LETTERS.length]).join("")
  return `${name.slice(0, 19).replace(/-+$/, "")}-${suffix}`
}
