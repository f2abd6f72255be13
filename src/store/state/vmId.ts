const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

/** A fresh id for one boot of the VM with this name: `[a-z0-9-]`, at most 28 characters, 41 random bits. */
export function newVmId(name: string): string {
  const random = crypto.getRandomValues(new Uint32Array(8))
  const suffix = Array.from(random, (value) => LETTERS[value % LETTERS.length]).join("")
  return `${name.slice(0, 19).replace(/-+$/, "")}-${suffix}`
}
