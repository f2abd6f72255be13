import { expect, test } from "bun:test"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"
import { planConfinement } from "../../../src/supervisor/boot/confinement.ts"
import { failure } from "../../failure.ts"

const specOf = (more: object) => parseSpec({ kernel: "k", ...more }, { path: "p.ts", text: "" })

test.each<[more: object, subject: string]>([
  [{ jail: true }, "jail"],
  [{ jail: {} }, "jail"],
  [{ jail: { uid: 2000 } }, "jail"],
  [{ limits: { cpus: 1 } }, "limits"],
])("who is not root is refused %j, rather than given less", (more, subject) => {
  expect(() => planConfinement(specOf(more), false)).toThrow(failure("NEEDS_ROOT", `${subject}: only root`))
})

test.each([[{}], [{ jail: false }]])("who is not root and asks for no jail has none: %j", (more) => {
  expect(planConfinement(specOf(more), false)).toEqual({ jail: undefined, cgroup: undefined })
})

test("root's VM has a jail unless it asks for none", () => {
  expect(planConfinement(specOf({}), true).jail).toEqual({ uid: undefined, gid: undefined })
  expect(planConfinement(specOf({ jail: false }), true).jail).toBeUndefined()
})
