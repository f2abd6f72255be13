import { CString, type Pointer, read } from "bun:ffi"
import { word } from "./guards.ts"
import { libc } from "./libc.ts"

/** An entry of the user database. */
export interface Account {
  readonly name: string
  readonly shell: string
}

/** The account with this uid, as the host's name services know it (getpwuid(3)); undefined when they know none. */
export function accountOf(uid: number): Account | undefined {
  const found = libc.getpwuid(word("uid", uid))
  if (found === null) return undefined
  const entry = Number(found) as Pointer
  return { name: textAt(entry, 0), shell: textAt(entry, SHELL_OFFSET) }
}

// --- internal ---

/** `struct passwd` of glibc and musl, 64 bits: name, password, u32 uid, u32 gid, gecos, directory, shell. */
const SHELL_OFFSET = 40

function textAt(entry: Pointer, offset: number): string {
  const address = Number(read.ptr(entry, offset)) as Pointer
  return Number(address) === 0 ? "" : new CString(address).toString()
}
