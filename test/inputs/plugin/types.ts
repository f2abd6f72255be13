import type { Spec } from "banger"
import type { SpecInput } from "../../../src/inputs/schema/vm.ts"

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false

// Checked by tsc: the types that plugin authors see are those that the schema takes, field by field.
export const same: { readonly [Field in keyof Required<SpecInput>]: Same<Spec[Field], SpecInput[Field]> } = {
  name: true,
  kernel: true,
  initrd: true,
  bootArgs: true,
  extraBootArgs: true,
  vcpus: true,
  memory: true,
  drives: true,
  network: true,
  vmm: true,
  accel: true,
  firecracker: true,
  jail: true,
  limits: true,
  timeouts: true,
  console: true,
  ends: true,
  restart: true,
  after: true,
  unsafeClone: true,
}
export const noField: Same<keyof Spec, keyof SpecInput> = true
