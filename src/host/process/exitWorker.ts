import { pidfdExited } from "../../base/linux/pidfd.ts"

declare const self: Worker

/** One wait in the kernel, in milliseconds: a thread can be terminated only between two waits. */
const WAIT_STEP_MS = 60_000

self.onmessage = ({ data }: MessageEvent<number>) => {
  const wait = () => {
    if (pidfdExited(data, WAIT_STEP_MS)) self.postMessage("exited")
    else setTimeout(wait, 0)
  }
  wait()
}
