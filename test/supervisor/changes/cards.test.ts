import { afterEach, expect, test } from "bun:test"
import { bootId } from "../../../src/base/linux/bootId.ts"
import type { Failure } from "../../../src/base/terms/failure.ts"
import { isSameNamespace, networkNamespaceOf } from "../../../src/host/process/networkNamespace.ts"
import { ownNamespace } from "../../../src/host/process/procfs.ts"
import type { Devices } from "../../../src/host/vmm/vmm.ts"
import type { Resource } from "../../../src/store/state/handles.ts"
import { vmLayout } from "../../../src/store/state/places.ts"
import { addCard, removeCard, requireCard } from "../../../src/supervisor/changes/plugCard.ts"
import { requireDrive } from "../../../src/supervisor/changes/replaceDrive.ts"
import { settleCards } from "../../../src/supervisor/changes/settleCards.ts"
import { addedCard, parse } from "../../../src/supervisor/changes/words.ts"
import { failure } from "../../failure.ts"

const children: Bun.Subprocess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill()
    await child.exited
  }
})

const layout = vmLayout({ state: "/s", runtime: "/r" }, "web-1")
const signal = new AbortController().signal

function card(card: string, namespace = ownNamespace("net") ?? "", plugging?: true): Resource {
  const of = { link: `bgr${card}00000`.slice(0, 12), netns: false, bootId: bootId(), namespace, card }
  return { kind: "network", ...of, ...(plugging === undefined ? {} : { plugging }) }
}

/** A VM with these on its journal, whose VMM has these cards. `stuck`: of which the journal cannot be written. */
function vmWith(resources: readonly Resource[], there: readonly string[], stuck: readonly string[] = []) {
  const asked: string[] = []
  const warned: string[] = []
  const note = (what: string) => async (one: unknown) => void asked.push(`${what} ${JSON.stringify(one)}`)
  const journal = {
    resources,
    db: {} as never,
    refine(resource: Resource) {
      if (resource.kind === "network" && stuck.includes(resource.card ?? "")) throw new Error("the disk is ill")
      journal.resources = journal.resources.map((one) =>
        one.kind === "network" && resource.kind === "network" && one.card === resource.card ? resource : one,
      )
    },
    keepOnly() {},
  }
  const devices = {
    cards: async () => there,
    requirePlugging: async () => {},
    removeCard: note("remove"),
    addCard: note("add"),
  } as unknown as Devices
  const log = { debug() {}, info() {}, warn: (text: string) => void warned.push(text), error() {} }
  const session = { id: "web-1", db: {} as never, layout, journal: journal as never }
  return { session, devices, log, asked, warned, journal }
}
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: Failure) => error,
  )
const isChanging = (resource: Resource) => resource.kind === "network" && resource.plugging === true

test("a card that cannot be settled keeps no other from it, and is told", async () => {
  const own = ownNamespace("net")
  const resources = ["a", "bad", "c"].map((id) => card(id, own, true))
  const vm = vmWith(resources, ["a", "bad", "c"], ["bad"])
  const unsettled = await settleCards({ ...vm, warn: vm.log.warn })
  expect(unsettled).toMatchObject([{ card: "bad", why: { code: "NOT_RELEASED", message: "the disk is ill" } }])
  expect(vm.journal.resources.map(isChanging)).toEqual([false, true, false])
  // Another card can go meanwhile, that one cannot.
  const other = await failureOf(removeCard(vm, "nope"))
  expect(other?.message).toContain('no card is called "nope"')
  expect(vm.warned).toEqual(["network card bad was coming or going, and is not settled: the disk is ill"])
  expect((await failureOf(removeCard(vm, "bad")))?.message).toBe("the disk is ill")
  expect(vm.asked).toEqual([])
  if (process.geteuid?.() !== 0) return
  if (Bun.which("nft", { PATH: `${process.env.PATH}:/usr/sbin:/sbin` }) === null)
    return console.log("left out: how a card comes, which needs nft")
  const here = { pid: process.pid, startTime: 1, bootId: bootId(), uid: 0, root: "1:1" }
  const again = vmWith([card("bad", own, true), { kind: "process", identity: here }], ["bad"], ["bad"])
  const wanted = parse(addedCard, { id: "bad" })
  expect((await failureOf(addCard(again, wanted, { signal })))?.message).toBe("the disk is ill")
})

test("a card that was made in another network namespace is not taken out from this one", async () => {
  const argv = process.geteuid?.() === 0 ? ["unshare", "--net"] : ["unshare", "--map-root-user", "--net"]
  const child = Bun.spawn([...argv, "sh", "-c", "echo there; exec sleep 60"], { stdout: "pipe", stderr: "ignore" })
  children.push(child)
  const said = await child.stdout.getReader().read()
  if (said.done) return console.log("skipped: this host lets no network namespace be made")
  const elsewhere = networkNamespaceOf(child.pid) ?? ""
  expect(elsewhere).not.toBe(ownNamespace("net") ?? "")
  const vm = vmWith([card("lan", elsewhere)], ["lan"])
  expect(await failureOf(removeCard(vm, "lan"))).toMatchObject(
    failure("UNSUPPORTED", "card lan was made in another network namespace"),
  )
  expect(vm.asked).toEqual([])
  expect(vm.journal.resources.map(isChanging)).toEqual([false])
})

test("a card comes only where the VMM is proven to be in this network namespace", async () => {
  expect([isSameNamespace("4:1", "4:1"), isSameNamespace("4:1", "4:2")]).toEqual([true, false])
  expect([isSameNamespace(undefined, undefined), isSameNamespace("4:1", undefined)]).toEqual([undefined, undefined])
  if (process.geteuid?.() !== 0) return
  const wanted = parse(addedCard, { id: "lan" })
  const identity = { pid: 2 ** 22 + 1, startTime: 1, bootId: bootId(), uid: 0, root: "1:1" }
  for (const resources of [[], [{ kind: "process", identity } as const]]) {
    const vm = vmWith(resources, [])
    expect(await failureOf(addCard(vm, wanted, { signal }))).toMatchObject(
      failure("LIVENESS_UNKNOWN", "it cannot be told whether the VMM is in the network namespace that banger is in"),
    )
    expect(vm.asked).toEqual([])
  }
})

test("of many cards or drives a hint names some", () => {
  const ids = Array.from({ length: 31 }, (_, at) => `d${String(at).padStart(2, "0")}`)
  const some = `${ids.slice(0, 10).join(", ")} and 21 more`
  for (const [what, work] of [
    ["cards", () => requireCard(ids, "nope")],
    [
      "drives",
      () =>
        requireDrive(
          ids.map((id) => ({ id, path: null })),
          "nope",
        ),
    ],
  ] as const) {
    let hint: string | undefined
    try {
      work()
    } catch (error) {
      hint = (error as Failure).hint
    }
    expect(hint).toBe(`the ${what} are ${some}`)
  }
})
