import { expect, test } from "bun:test"
import { isOnTop } from "../../../src/host/kept/unmount.ts"

const line = (id: number, parent: number, dev: string, point: string) =>
  `${id} ${parent} ${dev} / ${point} rw,nosuid - tmpfs tmpfs rw`
const root = line(20, 1, "8:1", "/")
const here = { id: "40", fileSystem: "0:50", point: "/srv/m" }
const onTop = (lines: readonly string[], mounted = here) => isOnTop(`${[root, ...lines].join("\n")}\n`, mounted, "20")
const own = line(40, 20, "0:50", "/srv/m")

for (const [what, lines, is] of [
  ["alone", [own], true],
  ["beside others, also in it", [own, line(41, 20, "0:51", "/srv/n"), line(42, 40, "0:52", "/srv/m/sub")], true],
  ["on another", [line(39, 20, "0:49", "/srv/m"), line(40, 39, "0:50", "/srv/m")], true],
  ["below another", [own, line(41, 40, "0:51", "/srv/m")], false],
  ["gone", [line(41, 20, "0:51", "/srv/m")], false],
  ["another that has its number", [line(40, 20, "0:51", "/srv/m")], false],
  ["moved", [line(40, 20, "0:50", "/srv/moved")], false],
  ["in another mount than the place", [line(30, 20, "0:40", "/srv"), line(40, 30, "0:50", "/srv/m")], false],
  ["a circle, which no kernel shows", [line(39, 40, "0:49", "/srv/m"), line(40, 39, "0:50", "/srv/m")], false],
] as const)
  test(`a mount that is ${what} is ${is ? "" : "not "}on top of its place`, () => expect(onTop(lines)).toBe(is))

test("a place is told as the kernel writes it", () => {
  const point = "/srv/a b\\c\tä"
  const mounted = line(40, 20, "0:50", Buffer.from("/srv/a\\040b\\134c\\011ä").toString("latin1"))
  expect(onTop([mounted], { ...here, point })).toBe(true)
})
