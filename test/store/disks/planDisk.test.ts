import { expect, test } from "bun:test"
import { type DiskWish, planDisk, wholeBytes } from "../../../src/store/disks/planDisk.ts"
import { failure } from "../../failure.ts"

const MIB_BYTES = 1024 * 1024
const wish = (more: Partial<DiskWish>): DiskWish => ({
  ...{ name: "data", setting: "drives[0]", sizeBytes: undefined, imageBytes: undefined },
  ...more,
})

test.each<[string, Partial<DiskWish>, number | undefined, object]>([
  ["is made empty", { sizeBytes: MIB_BYTES }, undefined, { is: "make", bytes: MIB_BYTES }],
  ["is made of an image", { imageBytes: 700 }, undefined, { is: "make", bytes: 1024 }],
  [
    "is made of an image, and larger",
    { imageBytes: 700, sizeBytes: MIB_BYTES },
    undefined,
    { is: "make", bytes: MIB_BYTES },
  ],
  ["stays as it is", {}, 4096, { is: "keep", bytes: 4096 }],
  ["stays when it has that size", { sizeBytes: MIB_BYTES }, MIB_BYTES, { is: "keep", bytes: MIB_BYTES }],
  ["grows", { sizeBytes: 2 * MIB_BYTES }, MIB_BYTES, { is: "grow", bytes: 2 * MIB_BYTES }],
])("a disk %s", (_, wanted, present, plan) => expect(planDisk(wish(wanted), present)).toEqual(plan as never))

test("a disk never shrinks, and none is made without a size: both are said with its name and the setting", () => {
  expect(() => planDisk(wish({ sizeBytes: MIB_BYTES }), 2 * MIB_BYTES)).toThrow(
    failure("BAD_PLUGIN", "drives[0].size: the disk data has 2M already, and never shrinks to 1M"),
  )
  expect(() => planDisk(wish({}), undefined)).toThrow(failure("BAD_PLUGIN", "drives[0]: there is no disk data yet"))
  expect(() => planDisk(wish({ sizeBytes: MIB_BYTES, imageBytes: MIB_BYTES + 1 }), undefined)).toThrow(
    failure("BAD_PLUGIN", "drives[0].size: 1M is less than the 1.0M of the image"),
  )
})

test("a guest sees whole sectors", () => {
  expect([0, 1, 512, 513].map(wholeBytes)).toEqual([0, 512, 512, 1024])
})
