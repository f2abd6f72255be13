/** The command that runs this very program: the binary itself, or Bun with cli.ts. */
export function selfArgv(): readonly string[] {
  const compiled = import.meta.url.startsWith("file:///$bunfs/")
  return compiled
    ? ["/proc/self/exe"]
    : [process.execPath, Bun.fileURLToPath(new URL("../../../cli.ts", import.meta.url))]
}
