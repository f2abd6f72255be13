import { CFunction, FFIType } from "bun:ffi"
import { mapCode } from "./machineCode.ts"

/**
 * Makes the system calls of a table (`packCalls`), one after the other. The first starts a child that shares this process's memory, and in
 * which alone the others are made: the last of them runs its program. Returns what the first returned, here. In the child
 * no other code runs, since all of it would run on this thread's stack: a call that fails leaves its negative errno in the place
 * of its number, and the child ends with status 127.
 */
export function runInChild(calls: Uint8Array<ArrayBuffer>): number {
  childCode ??= madeCallable()
  return childCode(calls)
}

// --- internal ---

/** For x64: rbx is the call's place in the table, r12 tells the child. */
const X64 = [
  ...[0x53, 0x41, 0x54, 0x48, 0x89, 0xfb, 0x45, 0x31, 0xe4], // push rbx; push r12; mov rbx, rdi; xor r12d, r12d
  ...[0x8b, 0x03, 0x48, 0x8b, 0x7b, 0x08], // next: mov eax, [rbx]; mov rdi, [rbx+8]
  ...[0x48, 0x8b, 0x73, 0x10, 0x48, 0x8b, 0x53, 0x18], // mov rsi, [rbx+16]; mov rdx, [rbx+24]
  ...[0x4c, 0x8b, 0x53, 0x20, 0x4c, 0x8b, 0x43, 0x28], // mov r10, [rbx+32]; mov r8, [rbx+40]
  ...[0x4c, 0x8b, 0x4b, 0x30, 0x0f, 0x05], // mov r9, [rbx+48]; syscall
  ...[0x45, 0x85, 0xe4, 0x75, 0x0a], // test r12d, r12d; jnz child
  ...[0x48, 0x85, 0xc0, 0x75, 0x29, 0x41, 0xff, 0xc4, 0xeb, 0x0e], // test rax, rax; jnz parent; inc r12d; jmp after
  ...[0x48, 0x85, 0xc0, 0x78, 0x0f], // child: test rax, rax; js failed
  ...[0x48, 0xff, 0x43, 0x08, 0xff, 0x4b, 0x04, 0x79, 0xc7], // inc qword [rbx+8]; dec dword [rbx+4]; jns next
  ...[0x48, 0x83, 0xc3, 0x38, 0xeb, 0xc1], // after: add rbx, 56; jmp next
  ...[0x89, 0x03, 0xbf, 0x7f, 0x00, 0x00, 0x00], // failed: mov [rbx], eax; mov edi, 127
  ...[0xb8, 0xe7, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x0f, 0x0b], // mov eax, exit_group; syscall; ud2
  ...[0x41, 0x5c, 0x5b, 0xc3], // parent: pop r12; pop rbx; ret
]

/** For arm64: x9 is the call's place in the table, x10 tells the child. */
const ARM64 = [
  ...[0xaa0003e9, 0xd280000a, 0xb9400128, 0xa9408520], // mov x9, x0; mov x10, 0; next: ldr w8, [x9]; ldp x0, x1, [x9, 8]
  ...[0xa9418d22, 0xa9429524, 0xd4000001], // ldp x2, x3, [x9, 24]; ldp x4, x5, [x9, 40]; svc 0
  ...[0xb500008a, 0xb5000240, 0xd280002a, 0x14000009], // cbnz x10, child; cbnz x0, parent; mov x10, 1; b after
  ...[0xb7f80140, 0xf940052b, 0x9100056b, 0xf900052b], // child: tbnz x0, 63, failed; ldr x11, [x9, 8]; add x11, x11, 1; str x11, …
  ...[0xb940052b, 0x7100056b, 0xb900052b, 0x54fffe05], // ldr w11, [x9, 4]; subs w11, w11, 1; str w11, [x9, 4]; b.pl next
  ...[0x9100e129, 0x17ffffee], // after: add x9, x9, 56; b next
  ...[0xb9000120, 0xd2800fe0, 0xd2800bc8], // failed: str w0, [x9]; mov x0, 127; mov x8, exit_group
  ...[0xd4000001, 0xd4200000, 0xd65f03c0], // svc 0; brk 0; parent: ret
]

let childCode: ((calls: Uint8Array) => number) | undefined

function madeCallable(): (calls: Uint8Array) => number {
  const code = process.arch === "arm64" ? new Uint8Array(new Uint32Array(ARM64).buffer) : new Uint8Array(X64)
  const call = CFunction({ ptr: mapCode(code), args: [FFIType.ptr], returns: FFIType.i64_fast })
  return (calls) => Number(call(calls))
}
