import { expect, test } from "bun:test"
import { join } from "node:path"
import { exitReason, firecracker, saysHalted } from "../../src/vmm/firecracker.ts"
import { faultOf, openApi } from "../../src/vmm/firecrackerApi.ts"
import { bareArgv, jailerArgv } from "../../src/vmm/firecrackerArgv.ts"
import { bootRequests, snapshotRequest, startRequests } from "../../src/vmm/firecrackerRequests.ts"
import { knownBad, parseRelease, requireKnown, requireSupported } from "../../src/vmm/firecrackerVersion.ts"
import type { Boot } from "../../src/vmm/vmm.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const BOOT: Boot = {
  ...{ name: "vm-1", kernel: "/j/root/kernel", initrd: "/j/root/initrd", bootArgs: "quiet", vcpus: 2, memoryMiB: 512 },
  disks: [
    { id: "disk1", path: "/j/root/disk1", readonly: true, device: false, root: true },
    { id: "disk0", path: "/j/root/disk0", readonly: false, device: false, root: false },
  ],
  network: false,
  confinement: { root: "/j/root", uid: 7, gid: 8 },
  firecracker: {},
  restore: undefined,
}

test("a boot becomes the requests of Firecracker's API, in its order", () => {
  const settings = {
    machine: { smt: false },
    drives: { disk0: { io_engine: "Async" } },
    vsock: { guest_cid: 3 },
    entropy: {},
    balloon: { amount_mib: 0, deflate_on_oom: true },
  }
  const requests = bootRequests(BOOT, settings, "/")
  expect(requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
    "PUT /machine-config",
    "PUT /boot-source",
    "PUT /drives/disk1",
    "PUT /drives/disk0",
    "PUT /vsock",
    "PUT /entropy",
    "PUT /balloon",
  ])
  expect(requests.map(({ body }) => body)).toEqual([
    { vcpu_count: 2, mem_size_mib: 512, smt: false },
    { kernel_image_path: "/j/root/kernel", boot_args: "quiet", initrd_path: "/j/root/initrd" },
    { drive_id: "disk1", path_on_host: "/j/root/disk1", is_root_device: true, is_read_only: true },
    {
      drive_id: "disk0",
      path_on_host: "/j/root/disk0",
      is_root_device: false,
      is_read_only: false,
      io_engine: "Async",
    },
    { guest_cid: 3, uds_path: "/vsock.sock" },
    {},
    { amount_mib: 0, deflate_on_oom: true },
  ])
  expect(bootRequests({ ...BOOT, initrd: undefined, disks: [] }, {}, "/")).toHaveLength(2)
})

test("a boot ends with its start; one that goes on from a snapshot is nothing but that", () => {
  expect(startRequests(BOOT, {}, "/").at(-1)?.body).toEqual({ action_type: "InstanceStart" })
  const files = { state: "/s", memory: "/m" }
  expect(startRequests({ ...BOOT, restore: files }, {}, "/")).toEqual([
    {
      ...{ method: "PUT", path: "/snapshot/load", setting: "restore" },
      body: { snapshot_path: "/s", mem_backend: { backend_type: "File", backend_path: "/m" }, resume_vm: true },
    },
  ])
  expect(snapshotRequest(files).body).toEqual({ snapshot_type: "Full", snapshot_path: "/s", mem_file_path: "/m" })
})

test("the jailer is given name and value as two words, and a cgroup only where there is one", () => {
  const launch = {
    ...{ jailer: "/bin/jailer", executable: "/bin/firecracker", id: "vm-1", base: "/s/jail", netns: undefined },
    confinement: { root: "/r", uid: 7, gid: 8 },
    cgroup: undefined,
  }
  expect(jailerArgv(launch).join(" ")).toBe(
    "/bin/jailer --id vm-1 --exec-file /bin/firecracker --uid 7 --gid 8 --chroot-base-dir /s/jail " +
      "-- --api-sock /api.sock --log-path /firecracker.log --level Warn",
  )
  expect(jailerArgv({ ...launch, cgroup: "banger/vm-1", netns: "/run/netns/a" }).join(" ")).toContain(
    "--cgroup-version 2 --parent-cgroup banger/vm-1 --netns /run/netns/a --",
  )
  expect(bareArgv("/f", "vm-1", "/r/vm-1/").join(" ")).toBe(
    "/f --id vm-1 --api-sock /r/vm-1/api.sock --log-path /r/vm-1/firecracker.log --level Warn",
  )
})

test.each([
  ["Firecracker v1.16.1\n\nlogged", [1, 16, 1]],
  ["2026 [x] log\nFirecracker v1.5.0\n", [1, 5, 0]],
  ["Jailer v1.16.1\n", undefined],
  ["", undefined],
] as const)("%p is the release %p", (text, release) => {
  expect(parseRelease("Firecracker", text)).toEqual(release && [...release])
})

test("old releases are refused, bad ones known, and what they lack named", () => {
  expect(() => requireSupported("/f", [1, 4, 9])).toThrow("1.4.9, which is too old: 1.5 or newer is needed")
  requireSupported("/f", [1, 5, 0])
  for (const release of [
    [1, 13, 1],
    [1, 14, 0],
    [1, 5, 0],
    [1, 16, 0],
    [1, 15, 0],
  ] as const)
    expect(knownBad(release), release.join(".")).toBeDefined()
  for (const release of [
    [1, 13, 2],
    [1, 14, 1],
    [1, 15, 1],
    [1, 16, 1],
    [2, 0, 0],
  ] as const)
    expect(knownBad(release), release.join(".")).toBeUndefined()
  expect(() => requireKnown("/serial", [1, 13, 0])).toThrow("Firecracker 1.13.0 has no /serial: it came with 1.14.0")
  requireKnown("/serial", [1, 14, 0])
  requireKnown("/drives/a", [1, 5, 0])
})

test.each([
  [400, '{"fault_message":"no such kernel"}', "no such kernel"],
  [400, '{ "error": "bad\nAll dropped." }', "bad All dropped."],
  [413, "", "status 413"],
  [500, "<html>", "status 500: <html>"],
  [400, '{"other":1}', 'status 400: {"other":1}'],
])("of an answer %d %p the user is told %p", (code, text, words) => expect(faultOf(code, text)).toBe(words))

test.each([
  [0, null, undefined, "guest reset"],
  [1, null, undefined, "crashed"],
  [148, null, undefined, "crashed"],
  [null, "SIGKILL", undefined, "killed"],
  [null, "SIGKILL", "halted", "guest powered off"],
  [null, "SIGTERM", undefined, "stopped"],
  [null, "SIGSYS", undefined, "crashed"],
] as const)("exit code %p, signal %p and %p mean: %s", (code, signal, announced, reason) => {
  expect(exitReason({ code, signal, announced })).toBe(reason)
})

test("a guest that has powered off says so on a line of its kernel's", () => {
  expect(saysHalted("x\r\n[   12.345678] reboot: Power down\r\n")).toBe(true)
  expect(saysHalted("[    1.000000] reboot: System halted\n")).toBe(true)
  expect(saysHalted("reboot: Power down\n")).toBe(false)
  expect(saysHalted("[    1.000000] reboot: Power down, says the user\n")).toBe(false)
})

test("requests are made one at a time, with their length, and their answers read by it", async () => {
  const socket = join(directory.path, "api.sock")
  const seen: string[] = []
  let atOnce = 0
  const server = Bun.serve({
    unix: socket,
    async fetch(request) {
      expect(++atOnce).toBe(1)
      const text = await request.text()
      seen.push(`${request.method} ${new URL(request.url).pathname} ${request.headers.get("content-length")} ${text}`)
      await Bun.sleep(5)
      atOnce--
      return request.method === "GET" ? Response.json({ ok: true }) : new Response(null, { status: 204 })
    },
  })
  const api = openApi(socket)
  const put = (n: number) => api.request({ method: "PUT", path: "/x", body: { n }, setting: "x" })
  const answers = await Promise.all([put(1), api.request({ method: "GET", path: "/", setting: "y" }), put(2)])
  expect(answers).toEqual([undefined, { ok: true }, undefined])
  expect(seen).toEqual(['PUT /x 7 {"n":1}', "GET / null ", 'PUT /x 7 {"n":2}'])
  await expect(
    api.request({ method: "PUT", path: "/x", body: { x: "y".repeat(60_000) }, setting: "big" }),
  ).rejects.toThrow("big: 60008 bytes; Firecracker takes 51200 at most")
  await server.stop(true)
  await expect(put(3)).rejects.toThrow("x: Firecracker did not answer PUT /x")
})

test("a server that never answers has a limit", async () => {
  const socket = join(directory.path, "api.sock")
  const server = Bun.serve({ unix: socket, fetch: () => new Promise<Response>(() => {}) })
  const api = openApi(socket, 50)
  await expect(api.request({ method: "GET", path: "/", setting: "version" })).rejects.toThrow(
    "version: Firecracker did not answer GET / in 50ms",
  )
  await server.stop(true)
})

test("without its jailer Firecracker is not run in a jail", () => {
  const program = { path: "/f", version: [1, 16] } as const
  const place = { jails: "/j", runtime: "/r", control: "/r/q", cgroup: undefined }
  expect(() => firecracker.launch(program, BOOT, place)).toThrow("jailer is not in PATH")
  expect(firecracker.launch(program, { ...BOOT, confinement: undefined }, place).control).toBe("/r/api.sock")
  expect(firecracker.jailName({ ...program, path: "/opt/firecracker-v1.16.1-x86_64" })).toBe(
    "firecracker-v1.16.1-x86_64",
  )
})
