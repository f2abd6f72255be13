import { join } from "node:path"
import { type Benchmark, command } from "./compare.ts"

/** How long `banger --version` takes, against a Bun that does nothing. */
export default function version(): Benchmark {
  return {
    name: "version",
    about: "banger --version against bun -e 0; above 0.67 is the aim",
    rounds: 30,
    ours: command("banger --version", [join(import.meta.dir, "../dist/banger"), "--version"]),
    reference: command("bun -e 0", [process.execPath, "-e", "0"]),
  }
}
