/** So many bytes of a console's end are looked at. */
export const HALTED_TAIL_BYTES = 400

/**
 * Whether a console's last lines say that the guest has powered off or halted: on x86-64 Firecracker then runs on; elsewhere
 * it ends by itself. Pure.
 */
export function saysHalted(tail: string, arch: string = process.arch): boolean {
  return arch === "x64" && /^\[ *\d+\.\d+\] reboot: (?:Power down|System halted)\r?$/m.test(tail)
}
