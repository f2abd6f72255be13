import { expect, test } from "bun:test"
import { existsSync, mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../../src/base/linux/files.ts"
import { listenUnix } from "../../../src/base/linux/sockets.ts"
import { hostPath } from "../../../src/base/terms/path.ts"
import { type SocketSweep, sweepSockets } from "../../../src/host/sockets/sweepSockets.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

function leave(path: string): void {
  close(listenUnix(hostPath(path), 1))
}

const settings: SocketSweep = {
  ...{ dirs: [], depth: 2, dryRun: false, confirm: 2, confirmDelay: 300, veto: undefined },
  rules: { grace: 0, uid: undefined, ownerOf: () => undefined },
  lock: (_, work) => work(),
  keep: () => true,
}

/** How often a sweep has waited, and what it does while it does. */
async function counting<T>(work: () => Promise<T>, meanwhile: (wait: number) => void = () => {}): Promise<[number, T]> {
  const { sleep } = Bun
  let waits = 0
  Bun.sleep = (ms) => {
    meanwhile(++waits)
    return sleep(typeof ms === "number" ? Math.min(ms, 1) : ms)
  }
  try {
    return [0, await work()].with(0, waits) as [number, T]
  } finally {
    Bun.sleep = sleep
  }
}

test.each([1, 2, 5])(
  "--confirm %d waits so often less one for all directories together, nested ones too",
  async (confirm) => {
    const paths = Array.from({ length: 30 }, (_, index) =>
      join(directory.path, `svc${index}`, index % 2 ? "deep" : "."),
    )
    for (const path of paths) {
      mkdirSync(path, { recursive: true })
      leave(join(path, "rpc.sock"))
    }
    const [waits, { totals }] = await counting(() => sweepSockets({ ...settings, dirs: [directory.path], confirm }))
    expect({ waits, removed: totals.removed, errors: totals.errors }).toEqual({
      waits: confirm - 1,
      removed: 30,
      errors: 0,
    })
    expect(paths.filter((path) => existsSync(join(path, "rpc.sock")))).toEqual([])
  },
)

test.each([2, 3, 5])(
  "of --confirm %d looks, one before the last finds a service that came back: it is spared, and told so",
  async (confirm) => {
    for (const when of new Set([1, confirm - 1])) {
      const dir = join(directory.path, `at-${when}`)
      mkdirSync(dir)
      const [path, other] = [join(dir, "a.sock"), join(dir, "b.sock")]
      leave(path)
      leave(other)
      let server = -1
      const [, { totals, directories }] = await counting(
        () => sweepSockets({ ...settings, dirs: [dir], confirm }),
        (wait) => {
          if (wait !== when) return
          rmSync(path)
          server = listenUnix(hostPath(path), 1)
        },
      )
      expect(existsSync(path)).toBe(true)
      expect(existsSync(other)).toBe(false)
      expect(totals).toMatchObject({ removed: 1, kept: { respawned: 1, changed: 0 } })
      expect(directories[0]?.sockets).toContainEqual(expect.objectContaining({ path, is: "kept", reason: "respawned" }))
      expect(directories[0]?.sockets).toContainEqual(
        expect.objectContaining({ path: other, is: "removed", cameBack: false }),
      )
      close(server)
    }
  },
)

test("a directory that is gone, or another one, by the next look is no error, and nothing of the other is touched", async () => {
  const dir = join(directory.path, "svc")
  mkdirSync(dir)
  leave(join(dir, "a.sock"))
  const [, { totals }] = await counting(
    () => sweepSockets({ ...settings, dirs: [directory.path] }),
    () => {
      rmSync(dir, { recursive: true })
      mkdirSync(dir)
      leave(join(dir, "a.sock"))
    },
  )
  // By a file system that gives the directory's inode to the next one, the socket in it is another one all the same.
  expect(totals).toMatchObject({ examined: 1, removed: 0, errors: 0 })
  expect(totals.gone + totals.kept.respawned).toBe(1)
  expect(existsSync(join(dir, "a.sock"))).toBe(true)
})
