import { expect, test } from "bun:test"
import { readModinfo } from "../../scripts/guest/modinfo.ts"
import { loadOrder, type ModuleSource } from "../../scripts/guest/modules.ts"
import { moduleWith } from "./elf.ts"

function kernelWith(depends: Record<string, string>, builtIn: readonly string[] = []): ModuleSource {
  const read = (name: string) =>
    name in depends ? moduleWith([`name=${name}`, `depends=${depends[name]}`]) : undefined
  return { builtIn: new Set(builtIn), read }
}

function order(source: ModuleSource, wanted: readonly string[], loaded?: Set<string>): string[] {
  return loadOrder(source, wanted, loaded).map(({ name }) => name)
}

const virtio = kernelWith({
  virtio: "virtio_ring",
  virtio_ring: "",
  virtio_net: "virtio,net-failover,virtio_ring",
  net_failover: "",
  virtio_blk: "virtio,virtio_ring",
})

test("modinfo gives every value of a key, in order", () => {
  const info = readModinfo(moduleWith(["alias=a", "license=GPL", "alias=b", "parm=x=y"]))
  expect(info.get("alias")).toEqual(["a", "b"])
  expect(info.get("parm")).toEqual(["x=y"])
})

test("what is no ELF file is an error", () => {
  expect(() => readModinfo(new Uint8Array(100))).toThrow("no ELF file")
})

test("each module comes once, after what it depends on", () => {
  expect(order(virtio, ["virtio_net", "virtio-blk"])).toEqual([
    "virtio_ring",
    "virtio",
    "net_failover",
    "virtio_net",
    "virtio_blk",
  ])
})

test("what is loaded already is left out, with what only that needs", () => {
  expect(order(virtio, ["virtio_blk"], new Set(["virtio", "virtio_ring"]))).toEqual(["virtio_blk"])
})

test("what is built in needs no module", () => {
  expect(order(kernelWith({ vsock: "ext4" }, ["ext4"]), ["ext4", "vsock"])).toEqual(["vsock"])
})

test("a module that is nowhere is named, with the one that needs it", () => {
  expect(() => order(kernelWith({}), ["virtio_mmio"])).toThrow("module virtio_mmio is neither built into this kernel")
  expect(() => order(kernelWith({ a: "b" }), ["a"])).toThrow("module b, which a depends on, is neither built")
})

test("modules that depend on each other are an error, not a loop", () => {
  expect(() => order(kernelWith({ a: "b", b: "a" }), ["a"])).toThrow("a → b → a")
})
