import { readFileSync } from "node:fs"
import { Failure } from "../../base/terms/failure.ts"
import type { FirecrackerSettings } from "../../inputs/schema/firecracker.ts"

/** A processor of x86-64, as /proc/cpuinfo has it: family and model with their extensions. */
export interface Cpu {
  readonly vendor: string
  readonly family: number
  readonly model: number
  readonly stepping: number
}

/** The first processor in the text of /proc/cpuinfo; undefined where it says no such things (proc_cpuinfo(5)). Pure. */
export function parseCpu(text: string): Cpu | undefined {
  const field = (name: string) => new RegExp(`^${name}[ \\t]*: (.+)$`, "m").exec(text)?.[1]
  const vendor = field("vendor_id")
  const [family, model, stepping] = ["cpu family", "model", "stepping"].map((name) => Number(field(name) ?? Number.NaN))
  if (vendor === undefined || family === undefined || model === undefined || stepping === undefined) return undefined
  return { vendor, family, model, stepping }
}

/** What processor settings are checked against. */
export interface CpuHost {
  readonly arch: string
  /** This host's processor, when it can be told. */
  readonly cpu: () => Cpu | undefined
}

/** This host, whose processor is looked up only when a template asks for it. */
export const HERE: CpuHost = { arch: process.arch, cpu: readCpu }

/**
 * Throws a failure that names the setting when a processor template or configuration cannot be had on a host: of another
 * architecture, or of a processor that the template is not for. Firecracker would say so at the start. Pure.
 */
export function requireCpu({ machine, cpu_config }: FirecrackerSettings, { arch, cpu }: CpuHost): void {
  const template = machine?.cpu_template ?? "None"
  if (template !== "None") {
    if (cpu_config !== undefined) throw new Failure("BAD_PLUGIN", TWO, { subject: "firecracker.cpu_config" })
    requireTemplate(template, arch, cpu())
  }
  for (const [name, only] of Object.entries(ONLY)) {
    if (cpu_config?.[name as keyof typeof ONLY] === undefined || arch === only) continue
    throw unsupported(`firecracker.cpu_config.${name}`, `is for ${ARCH_NAMES[only]} alone`, "leave it out")
  }
}

// --- internal ---

const TWO = "firecracker.cpu_config: machine.cpu_template is set too, and Firecracker takes one of the two"

const ARCH_NAMES = { x64: "x86-64", arm64: "arm64" } as const

/** The architecture that a part of a custom configuration is for. */
const ONLY = { cpuid_modifiers: "x64", msr_modifiers: "x64", reg_modifiers: "arm64", vcpu_features: "arm64" } as const

type Template = Exclude<NonNullable<NonNullable<FirecrackerSettings["machine"]>["cpu_template"]>, "None">

const INTEL = "GenuineIntel"

/** Family, model and stepping (Firecracker's cpu_model.rs). */
const SKYLAKE = { name: "Skylake", family: 6, model: 0x55, stepping: 4 }
const CASCADE_LAKE = { name: "Cascade Lake", family: 6, model: 0x55, stepping: 7 }
const ICE_LAKE = { name: "Ice Lake", family: 6, model: 0x6a, stepping: 6 }
const MILAN = { name: "Milan", family: 0x19, model: 1, stepping: 1 }

/** The processors of each template (docs/cpu_templates/cpu-templates.md). */
const TEMPLATES = {
  C3: { arch: "x64", vendor: INTEL, models: [SKYLAKE, CASCADE_LAKE, ICE_LAKE] },
  T2: { arch: "x64", vendor: INTEL, models: [SKYLAKE, CASCADE_LAKE, ICE_LAKE] },
  T2S: { arch: "x64", vendor: INTEL, models: [SKYLAKE, CASCADE_LAKE] },
  T2CL: { arch: "x64", vendor: INTEL, models: [CASCADE_LAKE, ICE_LAKE] },
  T2A: { arch: "x64", vendor: "AuthenticAMD", models: [MILAN] },
  V1N1: { arch: "arm64", vendor: undefined, models: [] },
} as const satisfies Record<Template, unknown>

function requireTemplate(template: Template, arch: string, cpu: Cpu | undefined): void {
  const { arch: wanted, vendor, models } = TEMPLATES[template]
  const subject = "firecracker.machine.cpu_template"
  if (arch !== wanted) throw unsupported(subject, `${template} is for ${ARCH_NAMES[wanted]}`)
  // Of a processor that does not tell, Firecracker will.
  if (vendor === undefined || cpu === undefined) return
  const fits = models.some(
    ({ family, model, stepping }) => cpu.family === family && cpu.model === model && cpu.stepping === stepping,
  )
  if (cpu.vendor === vendor && fits) return
  const names = models.map(({ name }) => name).join(", ")
  const own = `${cpu.vendor} family ${cpu.family} model ${cpu.model} stepping ${cpu.stepping}`
  throw unsupported(
    subject,
    `${template} is for ${vendor === INTEL ? "Intel" : "AMD"} ${names}; this processor is ${own}`,
  )
}

function unsupported(subject: string, words: string, hint = "leave it out, or use firecracker.cpu_config"): Failure {
  return new Failure("UNSUPPORTED", `${subject}: ${words}`, { subject, hint })
}

function readCpu(): Cpu | undefined {
  return parseCpu(readFileSync("/proc/cpuinfo", "utf8"))
}
