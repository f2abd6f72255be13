import { expect, test } from "bun:test"
import { Failure } from "../../../src/base/terms/failure.ts"
import { firecracker } from "../../../src/host/firecracker/firecracker.ts"
import type { Judgement } from "../../../src/host/kvm/judge.ts"
import { qemu } from "../../../src/host/qemu/qemu.ts"
import { chooseVmm, type Finders, noticeOf, type Wanted } from "../../../src/supervisor/boot/chooseVmm.ts"

const absent = async () =>
  Promise.reject(new Failure("HOST_LACKS", "x is not in PATH", { hint: "run: get x; or build it" }))
const usable: Judgement = { is: "usable" }
const closed: Judgement = { is: "unusable", words: "/dev/kvm is not for you", hint: "usermod -aG kvm you" }
const stuck: Judgement = { is: "unusable", words: "stock kernels do not boot" }
const unknown: Judgement = { is: "unknown", words: "EMFILE" }

const finders = (kvm: Judgement, changes: Partial<Finders> = {}): Finders => ({
  qemu: async () => ({ vmm: qemu, program: { path: "/q", version: [7, 2] } }),
  firecracker: async () => ({ vmm: firecracker, program: { path: "/f", version: [1, 16], jailer: "/j" } }),
  judge: async () => kvm,
  ...changes,
})
const unjailed: Partial<Finders> = {
  firecracker: async () => ({ vmm: firecracker, program: { path: "/f", version: [1, 16] } }),
}
const wanted = ({
  vmm = "auto",
  accel = "auto",
  configured = "auto",
}: Partial<Wanted & { configured: "tcg" | "kvm" | "auto" }>) => ({
  ...{ vmm, accel, configured, jailed: true },
})

test.each([
  ["all there", finders(usable), {}, "firecracker kvm", undefined],
  ["a KVM that cannot be told", finders(unknown), {}, "firecracker kvm", undefined],
  ["no Firecracker", finders(usable, { firecracker: absent }), {}, "qemu kvm", "by KVM: x is not in PATH (get x)"],
  [
    "no jailer",
    finders(usable, unjailed),
    {},
    "qemu kvm",
    "by KVM: Firecracker's jailer is not in PATH (banger get firecracker)",
  ],
  [
    "neither Firecracker nor KVM",
    finders(stuck, { firecracker: absent }),
    {},
    "qemu tcg",
    "emulated and slowly: stock kernels do not boot",
  ],
  [
    "a closed KVM",
    finders(closed),
    {},
    "qemu tcg",
    "emulated and slowly: /dev/kvm is not for you (usermod -aG kvm you)",
  ],
  ["a KVM for few guests", finders(stuck), {}, "qemu tcg", "emulated and slowly: stock kernels do not boot"],
  ["that KVM, and Firecracker asked for", finders(stuck), { vmm: "firecracker" }, "firecracker kvm", undefined],
  ["QEMU asked for", finders(usable), { vmm: "qemu" }, "qemu kvm", undefined],
  [
    "QEMU asked for, a closed KVM",
    finders(closed),
    { vmm: "qemu" },
    "qemu tcg",
    "emulated and slowly: /dev/kvm is not for you (usermod -aG kvm you)",
  ],
  [
    "QEMU asked for, a KVM that cannot be told",
    finders(unknown),
    { vmm: "qemu" },
    "qemu tcg",
    "emulated and slowly: EMFILE",
  ],
  ["emulation asked for", finders(usable), { accel: "tcg" }, "qemu tcg", undefined],
  ["emulation configured", finders(usable), { configured: "tcg" }, "qemu tcg", undefined],
  [
    "emulation configured, KVM asked for",
    finders(usable),
    { configured: "tcg", accel: "kvm" },
    "firecracker kvm",
    undefined,
  ],
  [
    "emulation configured, Firecracker asked for",
    finders(usable),
    { configured: "tcg", vmm: "firecracker" },
    "firecracker kvm",
    undefined,
  ],
  ["KVM insisted on, and not to be told", finders(unknown), { vmm: "qemu", accel: "kvm" }, "qemu kvm", undefined],
] as const)("with %s", async (_, host, asked, choice, notice) => {
  const chosen = await chooseVmm(host, wanted(asked))
  expect(`${chosen.vmm.name} ${chosen.accel}`).toBe(choice)
  expect(chosen.program.accel ?? "kvm").toBe(chosen.accel)
  expect(noticeOf(chosen)).toBe(notice === undefined ? undefined : `QEMU runs this VM, ${notice}`)
})

test.each([
  [
    "auto",
    { accel: "kvm" },
    closed,
    "HOST_LACKS",
    /^accel is "kvm", and KVM cannot be used: .*not for you$/,
    "usermod -aG kvm you",
  ],
  [
    "QEMU",
    { vmm: "qemu", accel: "kvm" },
    stuck,
    "HOST_LACKS",
    /stock kernels do not boot/,
    'use accel: "auto", which emulates here',
  ],
  [
    "the configuration",
    { configured: "kvm" },
    stuck,
    "HOST_LACKS",
    /^accel is "kvm"/,
    'use accel: "auto", which emulates here',
  ],
  [
    "Firecracker",
    { vmm: "firecracker", accel: "tcg" },
    usable,
    "UNSUPPORTED",
    /Firecracker runs guests by KVM only/,
    'use vmm: "qemu", or leave accel out',
  ],
] as const)("what %s cannot have is refused by name", async (_, asked, kvm, code, message, hint) => {
  await expect(chooseVmm(finders(kvm), wanted(asked))).rejects.toMatchObject({
    code,
    hint,
    subject: "accel",
    message: expect.stringMatching(message) as string,
  })
})

test("without any VMM it is said of both why", async () => {
  await expect(chooseVmm(finders(usable, { firecracker: absent, qemu: absent }), wanted({}))).rejects.toThrow(
    "no VMM can be used here\nfirecracker: x is not in PATH (run: get x; or build it)\nqemu: x is not in PATH (run: get x; or build it)",
  )
})

test("where QEMU is refused and Firecracker is not there, the refusal's code is told, and why of both", async () => {
  const qemu = () => Promise.reject(new Failure("NEEDS_ROOT", "not by sudo", { hint: "ask root", subject: "vmm" }))
  const detail = { code: "NEEDS_ROOT", subject: "vmm" }
  await expect(chooseVmm({ ...finders(usable), qemu }, wanted({ vmm: "qemu" }))).rejects.toMatchObject({
    ...{ ...detail, message: "not by sudo", hint: "ask root" },
  })
  await expect(chooseVmm({ ...finders(stuck), qemu }, wanted({}))).rejects.toMatchObject({
    ...{ ...detail, message: expect.stringMatching(/^no VMM can be used here\nfirecracker: .*\nqemu: not by sudo/) },
  })
  expect((await chooseVmm({ ...finders(usable), qemu }, wanted({}))).vmm.name).toBe("firecracker")
})

test("KVM is not asked where it does not matter", async () => {
  const judge = () => Promise.reject(new Error("asked"))
  for (const asked of [{ vmm: "firecracker" }, { accel: "tcg" }, { vmm: "qemu", accel: "tcg" }] as const) {
    await chooseVmm(finders(usable, { judge }), wanted(asked))
  }
})
