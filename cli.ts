import { versionText } from "./src/cli/terminal/version.ts"

// Explicitly: what a plugin left running (a timer, a socket) must not keep this process. Not awaited: then the event loop
// would never be idle (holdProcess).
start(process.argv.slice(2)).then(process.exit)

/** Tells the version at once; everything else is loaded only when it is asked for. */
async function start(words: readonly string[]): Promise<number> {
  if (words.length === 1 && ["--version", "-V", "version"].includes(words[0] ?? "")) {
    // Not process.stdout: making that stream would take a third of the time this command takes.
    console.log(versionText())
    return 0
  }
  // Nothing else is loaded: this is what a thousand VMs have running.
  if (words[0] === "__rest") return (await import("./src/supervisor/rest/resting.ts")).restUntilNeeded(words.slice(1))
  const { holdProcess } = await import("./src/base/linux/hold.ts")
  holdProcess()
  const { main } = await import("./src/cli/main.ts")
  return main(words)
}
