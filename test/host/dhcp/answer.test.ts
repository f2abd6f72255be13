import { expect, test } from "bun:test"
import type { Instruction } from "../../../src/base/linux/frames.ts"
import { answerDhcp } from "../../../src/host/dhcp/answer.ts"
import { dhcpFilter } from "../../../src/host/dhcp/filter.ts"
import { type DhcpLease, FRAME_MAX_BYTES } from "../../../src/host/dhcp/message.ts"
import { ask, LEASE, type Question, viewOf } from "../../dhcpQuestion.ts"

const [DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM] = [1, 2, 3, 4, 5, 6, 7, 8]

/** What an answer says, and that it is whole: lengths and checksums. */
function read(frame: Uint8Array | undefined) {
  if (frame === undefined) return undefined
  const view = viewOf(frame)
  expect(view.getUint16(12)).toBe(0x0800)
  expect(view.getUint16(16)).toBe(frame.length - 14)
  expect(view.getUint16(38)).toBe(frame.length - 34)
  expect([view.getUint16(34), view.getUint16(36)]).toEqual([67, 68])
  expect(sum(frame.subarray(14, 34), 0)).toBe(0xffff)
  expect(sum(frame.subarray(26), 17 + frame.length - 34)).toBe(0xffff)
  const options = new Map<number, readonly number[]>()
  for (let at = 42 + 240; frame[at] !== 255; at += 2 + (frame[at + 1] ?? 0))
    options.set(frame[at] ?? 0, [...frame.subarray(at + 2, at + 2 + (frame[at + 1] ?? 0))])
  return {
    to: [...frame.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join(":"),
    toAddress: frame.subarray(30, 34).join("."),
    xid: view.getUint32(46),
    yours: frame.subarray(58, 62).join("."),
    type: options.get(53)?.[0],
    options,
  }
}

function sum(bytes: Uint8Array, more: number): number {
  let total = more
  for (const [at, byte] of bytes.entries()) total += at % 2 === 0 ? byte << 8 : byte
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return total
}

const answer = (question: Question, lease: Partial<DhcpLease> = {}) =>
  read(answerDhcp(ask(question), { ...LEASE, ...lease }))

test("a guest that asks is offered its own address, for ever, with what ip= says", () => {
  const offer = answer({ type: DISCOVER })
  expect(offer).toMatchObject({
    type: OFFER,
    yours: "10.213.0.7",
    xid: 0xdeadbeef,
    to: LEASE.mac,
    toAddress: "10.213.0.7",
  })
  expect(Object.fromEntries(offer?.options ?? [])).toEqual({
    ...{ 1: [255, 255, 0, 0], 3: [10, 213, 0, 1], 6: [9, 9, 9, 9, 192, 0, 2, 53], 12: [...Buffer.from("web")] },
    ...{ 28: [10, 213, 255, 255], 51: [255, 255, 255, 255], 53: [OFFER], 54: [10, 213, 0, 1] },
  })
  expect(answer({ type: DISCOVER }, { mtu: 1400 })?.options.get(26)).toEqual([5, 120])
  expect(answer({ type: DISCOVER }, { dns: [] })?.options.has(6)).toBe(false)
  expect(answer({ type: DISCOVER, words: 3 })?.type).toBe(OFFER)
})

test.each<[string, Question, Partial<NonNullable<ReturnType<typeof answer>>>]>([
  [
    "what it was offered is its",
    {
      type: REQUEST,
      options: [
        [50, [10, 213, 0, 7]],
        [54, [10, 213, 0, 1]],
      ],
    },
    { type: ACK, yours: "10.213.0.7" },
  ],
  ["what it remembers, and is its", { type: REQUEST, options: [[50, [10, 213, 0, 7]]] }, { type: ACK }],
  [
    "what it remembers of another network is refused, to all",
    { type: REQUEST, options: [[50, [192, 168, 1, 9]]], broadcast: false },
    { type: NAK, yours: "0.0.0.0", to: "ff:ff:ff:ff:ff:ff", toAddress: "255.255.255.255" },
  ],
  [
    "a lease that it has is lengthened",
    { type: REQUEST, has: "10.213.0.7", from: "10.213.0.7", to: "10.213.0.1" },
    { type: ACK, toAddress: "10.213.0.7" },
  ],
  [
    "one that cannot take a frame to itself yet",
    { type: DISCOVER, broadcast: true },
    { type: OFFER, to: "ff:ff:ff:ff:ff:ff", toAddress: "255.255.255.255" },
  ],
  [
    "one that has its address and asks for the rest",
    { type: INFORM, has: "10.213.0.7" },
    { type: ACK, yours: "0.0.0.0" },
  ],
])("answered: %s", (_, question, said) => {
  expect(answer(question)).toMatchObject(said)
})

test.each<[string, Question]>([
  ["another machine's question", { type: DISCOVER, mac: "02:00:5e:10:00:02" }],
  ["a question for another machine", { type: DISCOVER, chaddr: "02:00:5e:10:00:02" }],
  [
    "a choice of another server",
    {
      type: REQUEST,
      options: [
        [50, [10, 213, 0, 7]],
        [54, [10, 213, 0, 9]],
      ],
    },
  ],
  ["a question to another server", { type: DISCOVER, to: "10.213.0.9" }],
  ["what a relay passed on", { type: DISCOVER, relay: "10.213.0.3" }],
  ["no type", {}],
  ["a type of two bytes", { options: [[53, [1, 1]]] }],
  ["a request for nothing", { type: REQUEST }],
  ["an address that is not its", { type: INFORM, has: "10.213.0.9" }],
  ["a server's own words", { type: OFFER }],
  ["giving back", { type: RELEASE, has: "10.213.0.7" }],
  ["declining", { type: DECLINE }],
])("not answered: %s", (_, question) => {
  expect(answer(question)).toBeUndefined()
})

/** Classic BPF, as far as the filter needs it; a load beyond the end takes nothing, as in the kernel. */
function filter(program: readonly Instruction[], frame: Uint8Array): number {
  const view = viewOf(frame)
  let [accumulator, index] = [0, 0]
  try {
    for (let at = 0; ; at++) {
      const [code, whenTrue, whenFalse, operand] = program[at] ?? [0, 0, 0, 0]
      if (code === 0x06) return operand
      else if (code === 0x20) accumulator = view.getUint32(operand)
      else if (code === 0x28) accumulator = view.getUint16(operand)
      else if (code === 0x30) accumulator = view.getUint8(operand)
      else if (code === 0x48) accumulator = view.getUint16(operand + index)
      else if (code === 0xb1) index = (view.getUint8(operand) & 15) * 4
      else if (code === 0x15) at += accumulator === operand ? whenTrue : whenFalse
      else if (code === 0x45) at += (accumulator & operand) !== 0 ? whenTrue : whenFalse
      else throw new Error(`no such instruction: ${code}`)
    }
  } catch (error) {
    if (error instanceof RangeError) return 0
    throw error
  }
}

test("the filter takes questions of this guest alone, and only the first fragment's port is a port", () => {
  const program = dhcpFilter(LEASE.mac)
  expect(filter(program, ask({ type: DISCOVER }))).toBe(FRAME_MAX_BYTES)
  expect(filter(program, ask({ type: DISCOVER, words: 10 }))).toBe(FRAME_MAX_BYTES)
  expect(filter(program, ask({ type: DISCOVER, mac: "02:00:5e:10:00:02" }))).toBe(0)
  const changed = (at: number, ...bytes: number[]) => {
    const frame = ask({ type: DISCOVER })
    frame.set(bytes, at)
    return filter(program, frame)
  }
  for (const [at, ...bytes] of [
    [12, 0x86, 0xdd],
    [23, 6],
    [36, 0, 53],
    [20, 0x20, 0],
    [20, 0, 1],
    [11, 9],
  ] as const)
    expect(changed(at, ...bytes), String(at)).toBe(0)
})

test("whatever a guest sends, no answer is longer, goes elsewhere or gives anything but its own address", () => {
  const seed = Number(process.env.BANGER_TEST_SEED ?? Date.now() % 2 ** 31)
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const program = dhcpFilter(LEASE.mac)
  let answers = 0
  for (let round = 0; round < 20_000; round++) {
    const options = Array.from({ length: random(4) }, () => {
      const kind = [50, 54, 53, 0, 255, 61, random(256)][random(7)] ?? 0
      return [kind, Array.from({ length: random(9) }, () => random(256))] as const
    })
    let frame = ask({ type: 1 + random(8), broadcast: random(2) === 0, words: random(3), options })
    for (let count = random(4); count > 0; count--) frame[random(frame.length)] = random(256)
    if (random(4) === 0) frame = frame.subarray(0, random(frame.length + 1))
    const said = answerDhcp(frame, LEASE)
    if (said === undefined) continue
    answers++
    // What is answered has come through the filter.
    expect(filter(program, frame), `seed ${seed}`).toBe(FRAME_MAX_BYTES)
    expect(said.length, `seed ${seed}`).toBeLessThanOrEqual(14 + 28 + 400)
    const { yours, to, toAddress } = read(said) ?? {}
    expect(["0.0.0.0", "10.213.0.7"], `seed ${seed}`).toContain(yours ?? "")
    expect([LEASE.mac, "ff:ff:ff:ff:ff:ff"], `seed ${seed}`).toContain(to ?? "")
    expect(toAddress, `seed ${seed}`).toBe(to === LEASE.mac ? "10.213.0.7" : "255.255.255.255")
  }
  expect(answers).toBeGreaterThan(1000)
})
