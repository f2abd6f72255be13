/** A word as a POSIX shell needs it typed: quoted unless it is plain. Pure. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** A command line as a POSIX shell needs it typed. Pure. */
export function shellWords(words: readonly string[]): string {
  return words.map(shellWord).join(" ")
}
