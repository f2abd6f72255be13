import { expect, test } from "bun:test"
import {
  type HostPath,
  hostPath,
  inJail,
  type JailPath,
  seenFromHost,
  withoutJail,
} from "../../../src/base/terms/path.ts"

test("the compiler refuses a path of the host where the jail's is meant, and the other way round", () => {
  const { host, jail } = inJail(hostPath("/j"), "kernel")
  const boots = (_: JailPath) => {}
  const opens = (_: HostPath) => {}
  boots(jail)
  opens(host)
  // @ts-expect-error: the VMM in its jail would look for it in vain.
  boots(host)
  // @ts-expect-error: this host has another file of that name, or none.
  opens(jail)
  // @ts-expect-error: a text is neither, until it is said to be one.
  boots("/kernel")
  // @ts-expect-error: likewise.
  opens("/kernel")
  expect([seenFromHost(jail, hostPath("/j")), seenFromHost(jail, undefined)].map(String)).toEqual([host, "/kernel"])
  expect(() => hostPath("kernel")).toThrow('"kernel" is not an absolute path')
})

test("without a jail both names of a file are the same", () => {
  const { host, jail } = withoutJail(hostPath("/var/kernel"))
  expect([host, jail, seenFromHost(jail, undefined)].map(String)).toEqual(["/var/kernel", "/var/kernel", "/var/kernel"])
})
