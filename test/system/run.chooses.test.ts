// Which VMM is taken, and how QEMU runs a guest, on this host as it is: with a Firecracker in PATH and without, by KVM where
// guests run by it, and refused where they do not.
import { expect, test } from "bun:test"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { judgeKvm } from "../../src/host/kvm/judge.ts"
import { thisKvmHost } from "../../src/host/kvm/thisHost.ts"
import { GUESTS } from "../contract/guests.ts"
import { describeReal } from "../real.ts"
import { banger, fixture, startGuest } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const place = eachInItsPlace()
const kvm = await judgeKvm(thisKvmHost({ state: "/nonexistent" }, "look"), "qemu")
console.log(`run.chooses: KVM here is ${kvm.is}${kvm.is === "usable" ? "" : `: ${kvm.words}`}`)
const auto = JSON.stringify({ vmm: "auto", accel: "auto" })
const plan = ["run", "--plan", "--json", fixture("guest"), "--", "true"]

test("without Firecracker QEMU is taken, and one line says why and how; not with --quiet", async () => {
  const PATH = "/usr/bin:/bin"
  const planned = await banger(place, [...plan, auto], { PATH })
  const { vmm, accel, notice, argv } = JSON.parse(planned.stdout)
  expect({ vmm, accel }).toEqual({ vmm: "qemu", accel: kvm.is === "usable" ? "kvm" : "tcg" })
  expect(argv.join(" ")).toContain(`-accel ${accel} -cpu ${accel === "kvm" ? "host" : "max"}`)
  expect(notice).toMatch(accel === "kvm" ? /^QEMU runs this VM, by KVM: / : /^QEMU runs this VM, emulated and slowly: /)
  const words = ["run", fixture("guest"), "--plan", "--", "true", auto]
  expect((await banger(place, words, { PATH })).stderr).toContain(notice)
  expect((await banger(place, [...words.slice(0, 2), "--quiet", ...words.slice(2)], { PATH })).stderr).toBe("")
})

test("who names VMM and accelerator hears nothing of it", async () => {
  const { stdout, stderr } = await banger(place, plan)
  expect(JSON.parse(stdout)).toMatchObject({ vmm: "qemu", accel: "tcg" })
  expect(JSON.parse(stdout).notice).toBeUndefined()
  expect(stderr).toBe("")
})

test("a guest runs by KVM in its jail where it is insisted on, or the plugin is refused by the setting's name", async () => {
  const run = await startGuest(place, "echo by $(cat /sys/devices/system/clocksource/*/current_clocksource)", {
    accel: "kvm",
  }).ended
  if (kvm.is === "usable") {
    expect(run.exit).toBe(0)
    expect(run.stdout).toContain("by kvm-clock")
    return
  }
  expect(run.stderr).toContain('accel is "kvm", and KVM cannot be used: ')
  expect(run.exit).toBe(1)
  expect(records(place)).toEqual([])
})

test("the configuration insists for every plugin that leaves it open", async () => {
  const config = join(place.dir, "config.toml")
  writeFileSync(config, 'accel = "tcg"\n', { mode: 0o644 })
  const { stdout, stderr } = await banger(place, [...plan, auto], { BANGER_CONFIG: config })
  expect({ accel: JSON.parse(stdout).accel, stderr }).toEqual({ accel: "tcg", stderr: "" })
  writeFileSync(config, 'accel = "hvf"\n')
  const refused = await banger(place, [...plan, auto], { BANGER_CONFIG: config })
  expect(refused.stderr).toContain('accel is \\"hvf\\"; allowed: \\"auto\\", \\"kvm\\" or \\"tcg\\"')
})

describeReal("which VMM", (real) => {
  test("auto takes Firecracker only where stock kernels boot by KVM; what was tried is kept", async () => {
    expect((await banger(place, ["ps"])).exit).toBe(0)
    const planned = JSON.parse((await banger(place, [...plan, auto], { ...real.env })).stdout)
    expect(planned.vmm).toBe(kvm.is === "usable" ? "firecracker" : "qemu")
    if (kvm.is === "unusable") expect(planned.notice).toContain(kvm.words)
    if (kvm.is !== "unknown")
      expect(JSON.parse(readFileSync(join(place.state, "kvm.json"), "utf8")).tried.is).toBeString()
  })

  test("a guest made for such a KVM boots where Firecracker is named", async () => {
    const kernel = join(place.dir, "vmlinux")
    writeFileSync(kernel, GUESTS.reset ?? "", { mode: 0o644 })
    const run = await banger(place, ["run", fixture("firecracker"), "--", kernel, "{}", ""], { ...real.env })
    expect(run.stdout).toContain("BANGER-GUEST-UP")
    expect(run.exit).toBe(0)
  })
})
