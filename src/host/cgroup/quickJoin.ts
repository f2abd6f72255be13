import { readFileSync, write } from "node:fs"
import { O } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { close, openWithoutSymlinks, verified } from "../../base/linux/files.ts"

/** So much of the list of a cgroup's processes is read. */
const LIST_MAX_BYTES = 64 * 1024

/**
 * Makes the next move into a cgroup quick, if it comes within some milliseconds, and returns at once. A move first waits for all
 * processors to pass a quiet state (cgroup_threadgroup_rwsem, a percpu_rwsem of Linux), 5 to 15 ms, but not soon after another.
 * So another thread moves this process to the cgroup that it is in already, which changes nothing. Throws nothing.
 */
export function quickenJoin(mount: string): void {
  try {
    const path = ownCgroup(readFileSync("/proc/self/cgroup", "latin1"))
    if (path === undefined) return
    // What a mount shows may be the tree of another cgroup namespace: only a list with this process in it proves the path.
    const fd = verified(openWithoutSymlinks(`${mount}${path}/cgroup.procs`, O.RDWR), (procs) => {
      const text = new TextDecoder().decode(readAll(procs, LIST_MAX_BYTES))
      if (!isListed(text, process.pid)) throw new Error(`this process is not in ${path}`)
    })
    write(fd, "0", () => close(fd))
  } catch {
    // The move takes its time then.
  }
}

/** The path of a process's cgroup (v2) in the text of its /proc/PID/cgroup; undefined when it has none to be reached. Pure. */
export function ownCgroup(text: string): string | undefined {
  const path = /^0::(\/.*)$/m.exec(text)?.[1]
  return path === undefined || path.split("/").includes("..") ? undefined : path.replace(/\/$/, "")
}

/** Whether a text of cgroup.procs lists a process. Pure. */
export function isListed(procs: string, pid: number): boolean {
  return procs.split("\n").includes(String(pid))
}
