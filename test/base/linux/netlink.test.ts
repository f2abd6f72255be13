import { expect, test } from "bun:test"
import {
  attribute,
  joined,
  NLMSG,
  nested,
  packMessage,
  parseAttributes,
  parseEnd,
  parseMessages,
  partOf,
  textAttribute,
  textOf,
  u32Attribute,
  u32Of,
} from "../../../src/base/linux/netlink.ts"
import { echoRequest } from "../../../src/base/linux/ping.ts"

test("messages one after the other are read as they were packed, whatever their padding", () => {
  const bodies = [new Uint8Array(0), Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2, 3, 4)]
  const bytes = joined(
    ...bodies.flatMap((body, index) => {
      const packed = packMessage({ type: 16 + index, flags: 5, sequence: 7, body })
      return [packed, new Uint8Array((4 - (packed.length % 4)) % 4)]
    }),
  )
  const messages = parseMessages(bytes)
  expect(messages.map(({ type }) => type)).toEqual([16, 17, 18])
  expect(messages.map(({ body }) => [...body])).toEqual(bodies.map((body) => [...body]))
  expect(messages[0]).toMatchObject({ flags: 5, sequence: 7 })
})

test("an answer is what has its request's number, up to its end; a list that changed is told by its end alone too", () => {
  const message = (type: number, sequence: number, flags = 2) => ({ type, flags, sequence, body: new Uint8Array(4) })
  const [mine, end] = [message(16, 7), message(NLMSG.DONE, 7)]
  const parts = [message(16, 6), mine, message(NLMSG.ERROR, 6), mine]
  expect(partOf(parts, 7)).toEqual({ messages: [mine, mine], end: undefined, torn: false })
  expect(partOf([mine, end, mine], 7)).toEqual({ messages: [mine], end, torn: false })
  expect(partOf([mine, message(NLMSG.DONE, 7, 0x12)], 7).torn).toBe(true)
  expect(partOf([message(16, 7, 0x12), end], 7).torn).toBe(true)
  expect(partOf([message(16, 6, 0x12), mine, end], 7).torn).toBe(false)
})

test("attributes nest, and carry what they were given", () => {
  const body = joined(
    textAttribute(3, "bgr0"),
    nested(18, textAttribute(1, "bridge"), u32Attribute(2, 77)),
    attribute(9, Uint8Array.of(1, 2, 3)),
  )
  expect(body.length % 4).toBe(0)
  const found = parseAttributes(body)
  expect(textOf(found.get(3))).toBe("bgr0")
  const inner = parseAttributes(found.get(18) ?? new Uint8Array(0))
  expect([textOf(inner.get(1)), u32Of(inner.get(2))]).toEqual(["bridge", 77])
  expect([...(found.get(9) ?? [])]).toEqual([1, 2, 3])
  expect(u32Of(found.get(9))).toBeUndefined()
})

test.each([
  ["a message longer than what was read", Uint8Array.of(99, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)],
  ["a message shorter than its header", Uint8Array.of(4, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)],
])("%s is not believed", (_, bytes) => expect(() => parseMessages(bytes)).toThrow("netlink message of"))

test.each([
  ["longer than what there is", Uint8Array.of(99, 0, 1, 0)],
  ["shorter than its header", Uint8Array.of(0, 0, 1, 0)],
])("an attribute %s is not believed", (_, bytes) =>
  expect(() => parseAttributes(bytes)).toThrow("netlink attribute of"),
)

test("a name with a NUL never reaches the kernel", () => expect(() => textAttribute(3, "a\0b")).toThrow("NUL"))

test("an acknowledgement tells its errno, and the kernel's words where it has some", () => {
  const body = new Uint8Array(20)
  const view = new DataView(body.buffer)
  expect(parseEnd({ type: NLMSG.ERROR, flags: 0, sequence: 1, body })).toEqual({ errno: 0, words: undefined })
  view.setInt32(0, -17, true)
  view.setUint32(4, 16, true)
  expect(parseEnd({ type: NLMSG.ERROR, flags: 0, sequence: 1, body })).toEqual({ errno: 17, words: undefined })
  const words = joined(body, textAttribute(1, "it is there"))
  expect(parseEnd({ type: NLMSG.ERROR, flags: 0x300, sequence: 1, body: words })).toEqual({
    errno: 17,
    words: "it is there",
  })
})

test("an echo request's checksum makes its words sum up to 0xffff", () => {
  for (const [id, sequence] of [
    [1, 1],
    [0xffff, 0xffff],
    [0x1234, 9],
  ] as const) {
    const view = new DataView(echoRequest(id, sequence).buffer)
    let sum = 0
    for (let at = 0; at < 8; at += 2) sum += view.getUint16(at)
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
    expect(sum).toBe(0xffff)
  }
})
