import { expect, test } from "bun:test"
import type { FirecrackerSettings } from "banger"
import { type Cpu, parseCpu, requireCpu } from "../../../src/host/firecracker/cpu.ts"
import { settingRequests } from "../../../src/host/firecracker/requests.ts"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"
import { BOOT, FILES } from "./boot.ts"

const ICE_LAKE: Cpu = { vendor: "GenuineIntel", family: 6, model: 0x6a, stepping: 6 }
const MILAN: Cpu = { vendor: "AuthenticAMD", family: 25, model: 1, stepping: 1 }
const GENOA: Cpu = { ...MILAN, model: 17 }
const on = (cpu: Cpu | undefined, arch = "x64") => ({ arch, cpu: () => cpu })
const templated = (cpu_template: string) => ({ machine: { cpu_template } }) as FirecrackerSettings

test("a processor is read from /proc/cpuinfo, where that tells of it", () => {
  const lines = [
    "processor\t: 0",
    "vendor_id\t: GenuineIntel",
    "cpu family\t: 6",
    "model\t\t: 106",
    "model name\t: Xeon",
  ]
  expect(parseCpu([...lines, "stepping\t: 6", "", "processor\t: 1", "vendor_id\t: Other"].join("\n"))).toEqual(ICE_LAKE)
  expect(parseCpu("processor\t: 0\nCPU implementer\t: 0x41\n")).toBeUndefined()
})

test.each([
  ["C3", on(ICE_LAKE), undefined],
  ["T2", on(ICE_LAKE), undefined],
  ["T2CL", on(ICE_LAKE), undefined],
  ["T2A", on(MILAN), undefined],
  ["T2A", on(undefined), undefined],
  ["V1N1", on(undefined, "arm64"), undefined],
  ["None", on(GENOA), undefined],
  ["T2S", on(ICE_LAKE), "T2S is for Intel Skylake, Cascade Lake; this processor is GenuineIntel family 6 model 106"],
  ["T2A", on(GENOA), "T2A is for AMD Milan; this processor is AuthenticAMD family 25 model 17 stepping 1"],
  ["T2", on(MILAN), "T2 is for Intel Skylake, Cascade Lake, Ice Lake; this processor is AuthenticAMD"],
  ["V1N1", on(MILAN), "V1N1 is for arm64"],
  ["C3", on(undefined, "arm64"), "C3 is for x86-64"],
])("the template %s on %p: %p", (template, host, words) => {
  const require = () => requireCpu(templated(template), host)
  if (words === undefined) require()
  else expect(require).toThrow(`firecracker.machine.cpu_template: ${words}`)
})

test.each([
  [{ reg_modifiers: [] }, "x64", "reg_modifiers: is for arm64 alone"],
  [{ vcpu_features: [] }, "x64", "vcpu_features: is for arm64 alone"],
  [{ cpuid_modifiers: [] }, "arm64", "cpuid_modifiers: is for x86-64 alone"],
  [{ msr_modifiers: [] }, "arm64", "msr_modifiers: is for x86-64 alone"],
])("the configuration %p on %s is refused: %s", (cpu_config, arch, words) => {
  expect(() => requireCpu({ cpu_config }, on(undefined, arch))).toThrow(`firecracker.cpu_config.${words}`)
})

test("a template and a configuration do not go together", () => {
  const both = { machine: { cpu_template: "T2A" }, cpu_config: {} } as const
  expect(() => requireCpu(both, on(MILAN))).toThrow("firecracker.cpu_config: machine.cpu_template is set too")
  requireCpu({ machine: { cpu_template: "None" }, cpu_config: { kvm_capabilities: ["!171"] } }, on(MILAN))
})

const leaf = (more: object) => ({
  cpuid_modifiers: [{ leaf: "0x1", subleaf: "0x0", flags: 0, modifiers: [], ...more }],
})
const bits = (bitmap: string) => leaf({ modifiers: [{ register: "ecx", bitmap }] })
const msr = (more: object) => ({ msr_modifiers: [{ addr: "0x10a", bitmap: "0b1", ...more }] })
const register = (addr: string, bitmap: string) => ({ reg_modifiers: [{ addr, bitmap }] })

test.each([
  { kvm_capabilities: ["121", "!171", "4294967295"] },
  leaf({ leaf: "0xffffffff", flags: 4294967295, subleaf: "0b101" }),
  bits(`0b${"x".repeat(31)}1`),
  bits("0bxxxx_0001_xxxx"),
  msr({ addr: "0b100001010", bitmap: `0b${"01".repeat(32)}` }),
  register("0x6030000000138012", `0b${"1".repeat(64)}`),
  register("0x6020000000138012", `0b${"x".repeat(96)}${"1".repeat(32)}`),
  register("0x6040000000100054", `0b${"1".repeat(128)}`),
  { vcpu_features: [{ index: 0, bitmap: "0b1100000" }] },
])("the configuration %p is taken", (cpu_config) => {
  parseSpec({ kernel: "/k", firecracker: { cpu_config } }, { path: "", text: "" })
})

const AT = "cpuid_modifiers[0]"
test.each([
  [{ kvm_capabilities: ["x"] }, "kvm_capabilities[0]"],
  [{ kvm_capabilities: ["!!1"] }, "kvm_capabilities[0]"],
  [{ kvm_capabilities: ["4294967296"] }, "kvm_capabilities[0]"],
  [{ kvm_capabilities: [1] }, "kvm_capabilities[0]"],
  [{ kvm_capability: [] }, "kvm_capability"],
  [leaf({ leaf: "1" }), `${AT}.leaf`],
  [leaf({ leaf: "0x" }), `${AT}.leaf`],
  [leaf({ leaf: "0x100000000" }), `${AT}.leaf`],
  [leaf({ subleaf: 0 }), `${AT}.subleaf`],
  [leaf({ flags: -1 }), `${AT}.flags`],
  [leaf({ flags: 4294967296 }), `${AT}.flags`],
  [leaf({ zzz: 1 }), `${AT}.zzz`],
  [leaf({ modifiers: [{ register: "rax", bitmap: "0b1" }] }), `${AT}.modifiers[0].register`],
  [bits(`0b${"x".repeat(33)}`), `${AT}.modifiers[0].bitmap`],
  [bits("0b"), `${AT}.modifiers[0].bitmap`],
  [bits("0b___"), `${AT}.modifiers[0].bitmap`],
  [bits("0b2"), `${AT}.modifiers[0].bitmap`],
  [bits("1"), `${AT}.modifiers[0].bitmap`],
  [msr({ bitmap: `0b${"1".repeat(65)}` }), "msr_modifiers[0].bitmap"],
  [msr({ addr: "zz" }), "msr_modifiers[0].addr"],
  [register("0x6030000000138012", `0b${"1".repeat(65)}`), "reg_modifiers[0]"],
  [register("0x6000000000138012", "0b1"), "reg_modifiers[0]"],
  [register("0x6040000000100054", `0b${"1".repeat(129)}`), "reg_modifiers[0].bitmap"],
  [{ vcpu_features: [{ index: 0.5, bitmap: "0b1" }] }, "vcpu_features[0].index"],
])("the configuration %p is refused with the plugin, at %s", (cpu_config, at) => {
  const parse = () => parseSpec({ kernel: "/k", firecracker: { cpu_config } }, { path: "", text: "" })
  const dotted = at.replaceAll("[0]", ".0")
  expect(parse).toThrow(new RegExp(`firecracker\\.cpu_config\\.(?:${literally(at)}|${literally(dotted)})(?![\\w.[])`))
})

test("a configuration is asked for behind the machine's; the start's refusal names what it is about", () => {
  const cpu_config = { kvm_capabilities: ["172"] }
  const firecracker = { machine: { cpu_template: "T2A" }, memory_hotplug: { total_size_mib: 128 } } as const
  const paths = settingRequests({ ...BOOT, firecracker: { cpu_config } }, FILES).map(({ path }) => path)
  expect(paths.slice(0, 2)).toEqual(["/machine-config", "/cpu-config"])
  const machine = settingRequests({ ...BOOT, firecracker }, FILES).find(({ path }) => path === "/machine-config")
  expect(machine?.body).toMatchObject({ cpu_template: "T2A" })
})

function literally(text: string): string {
  return text.replace(/[.[\]]/g, "\\$&")
}
