import { expect, test } from "bun:test"
import { findPanic } from "../../../src/host/vmm/panic.ts"

const PLAIN = "Kernel panic - not syncing: no init"
const STAMPED = `[    6.162345] ${PLAIN}\r\n`

test.each([
  ["with times", `${STAMPED}[    6.17] CPU: 0 PID: 1 Comm: init\r\n[    6.18] Rebooting in 1 seconds..\r\n`],
  ["and callers", "[    6.16][    T1] Kernel panic - not syncing: no init\r\n[    6.18][   C0] Call Trace:\r\n"],
  ["cut short", `boot\n${PLAIN}\n[`],
  ["without a line's end", PLAIN],
  [
    "without times",
    `${PLAIN}\nCPU: 0 PID: 1 Comm: sh Not tainted 6.1.0\nHardware name: QEMU\nCall Trace:\n <TASK>\n dump_stack_lvl+0x44/0x5c\n ? panic+0x118/0x2ed\n </TASK>\nRIP: 0033:0x7f\nRAX: ffda RBX: 1\nKernel Offset: disabled\n---[ end ${PLAIN} ]---\n`,
  ],
  ["after text that looks like it", `${PLAIN}\nno, it goes on\n${STAMPED}`],
])("a kernel's last words are told from text: %s", (_, text) => {
  expect(findPanic(text)).toEqual({ words: "no init", last: true })
})

test.each([
  ["a program goes on", `${PLAIN}\nbut all is well\n`],
  ["a program goes on after a line with a time", `${STAMPED}but all is well\r\n`],
  ["a kernel without panic restarts", `${PLAIN}\n[    7.1] reboot: Restarting system\n`],
  ["a line of the kernel's log is followed by an orderly end", `${STAMPED}[    7.1] reboot: Restarting system\r\n`],
  ["a kernel without times restarts", `${PLAIN}\nreboot: Restarting system\n`],
])("it is no panic when %s", (_, text) => expect(findPanic(text)).toEqual({ words: "no init", last: false }))

test.each(["all is well\n", "the log said: Kernel panic - not syncing: nothing\n", ""])("there is none in %p", (text) =>
  expect(findPanic(text)).toBeUndefined(),
)
