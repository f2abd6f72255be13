import { versionText } from "./src/cli/terminal/version.ts"

// Explicitly: what a plugin left running (a timer, a socket) must not keep this process.
process.exit(await start(process.argv.slice(2)))

/** Tells the version at once; everything else is loaded only when it is asked for. */
async function start(words: readonly string[]): Promise<number> {
  if (words.length === 1 && ["--version", "-V", "version"].includes(words[0] ?? "")) {
    // Not process.stdout: making that stream would take a third of the time this command takes.
    console.log(versionText())
    return 0
  }
  const { main } = await import("./src/cli/main.ts")
  return main(words)
}
