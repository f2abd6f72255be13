import { versionText } from "./src/cli/terminal/version.ts"

const words = process.argv.slice(2)
// Not awaited: then the event loop would never be idle (holdProcess).
start()

async function start(): Promise<void> {
  // The version is told at once; everything else is loaded only when it is asked for.
  if (words.length === 1 && ["--version", "-V", "version"].includes(words[0] ?? "")) {
    if (await isWritten(`${versionText()}\n`)) process.exit(0)
    // As any command, which says why it cannot.
  }
  // Nothing else is loaded: this is what a thousand VMs have running.
  if (words[0] === "__rest") return (await import("./src/supervisor/rest/resting.ts")).restUntilNeeded(words.slice(1))
  if (words.length === 1 && words[0] === "__helper") {
    const why = (await import("./src/base/linux/harden.ts")).hardenProcess()
    if (why !== undefined) return refuse(why)
  }
  if (process.env.NOTIFY_SOCKET !== undefined) (await import("./src/host/systemd/manager.ts")).hideManager(words)
  const { begin } = await import("./src/cli/begin.ts")
  await begin(words)
}

/** Whether standard output took all of it. Neither process.stdout nor node:fs: to load one takes a third of this command's time. */
async function isWritten(text: string): Promise<boolean> {
  try {
    return (await Bun.write(Bun.stdout, text)) === Buffer.byteLength(text)
  } catch {
    return false
  }
}

/** In the words that a user's banger understands. */
function refuse(why: string): void {
  const error = { code: "UNTRUSTED", message: `__helper: ${why}`, exit: 1 }
  console.log(JSON.stringify({ is: "failed", error }))
  process.exit(1)
}
