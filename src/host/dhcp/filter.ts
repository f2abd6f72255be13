import type { Instruction } from "../../base/linux/frames.ts"
import { AT, FRAME_MAX_BYTES, macBytes, PORT, PROTOCOL } from "./message.ts"

/** A filter that lets through what could be a question by DHCP of the guest with this MAC address, and nothing else. Pure. */
export function dhcpFilter(mac: string): readonly Instruction[] {
  const own = new DataView(macBytes(mac).buffer)
  const checks: readonly (readonly [load: Instruction, test: "is" | "has no", value: number])[] = [
    [[LOAD_HALF, 0, 0, AT.type], "is", PROTOCOL.ipv4],
    [[LOAD_WORD, 0, 0, AT.from], "is", own.getUint32(0)],
    [[LOAD_HALF, 0, 0, AT.from + 4], "is", own.getUint16(4)],
    [[LOAD_BYTE, 0, 0, AT.ip + 9], "is", PROTOCOL.udp],
    // Of a fragment only the first one has ports, and no question needs fragments.
    [[LOAD_HALF, 0, 0, AT.ip + 6], "has no", 0x3fff],
    [[LOAD_HALF_AFTER, 0, 0, AT.ip + 2], "is", PORT.server],
  ]
  const length = 2 * checks.length + 3
  const program: Instruction[] = []
  for (const [load, test, value] of checks) {
    if (load[0] === LOAD_HALF_AFTER) program.push([LOAD_HEADER_LENGTH, 0, 0, AT.ip])
    program.push(load)
    // To the last instruction, which takes nothing.
    const away = length - program.length - 2
    program.push(test === "is" ? [JUMP_EQUAL, 0, away, value] : [JUMP_SET, away, 0, value])
  }
  return [...program, [RETURN, 0, 0, FRAME_MAX_BYTES], [RETURN, 0, 0, 0]]
}

// --- internal ---

const [LOAD_WORD, LOAD_HALF, LOAD_BYTE, LOAD_HALF_AFTER, LOAD_HEADER_LENGTH] = [0x20, 0x28, 0x30, 0x48, 0xb1] as const
const [JUMP_EQUAL, JUMP_SET, RETURN] = [0x15, 0x45, 0x06] as const
