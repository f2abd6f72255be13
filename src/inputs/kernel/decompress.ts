import { Failure } from "../../base/terms/failure.ts"
import { findProgram } from "../../store/files/programs.ts"
import { LEGACY_LZ4, unpackLegacyLz4 } from "./lz4.ts"

type Unpack = (data: Uint8Array<ArrayBuffer>) => Uint8Array

/** `find` throws a failure where this host cannot unpack it. */
type Format = { name: string; magic: readonly number[]; find: () => Unpack }

const formats: readonly Format[] = [
  { name: "gzip", magic: [0x1f, 0x8b], find: () => (data) => Bun.gunzipSync(data) },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], find: () => (data) => Bun.zstdDecompressSync(data) },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], find: findXz },
  { name: "LZ4", magic: LEGACY_LZ4, find: () => unpackLegacyLz4 },
]

/** Unpacks every compression that distributions use for kernels and modules; returns other bytes as they are. */
export function decompress(data: Uint8Array<ArrayBuffer>): Uint8Array {
  return unpackerOf(data)?.(data) ?? data
}

/** What unpacks data that begins so; undefined: of none of these compressions. Throws HOST_LACKS where its program is missing. */
export function unpackerOf(start: Uint8Array): Unpack | undefined {
  return formats.find(({ magic }) => magic.every((byte, index) => start[index] === byte))?.find()
}

// --- internal ---

function findXz(): Unpack {
  const { path: program, passedOver } = findProgram("xz")
  if (program === undefined) {
    throw new Failure(
      "HOST_LACKS",
      ["xz is needed to unpack the kernel, and is not in PATH", ...passedOver].join("; "),
      {
        hint: "install it (Debian and Ubuntu: apt-get install xz-utils)",
        subject: "xz",
      },
    )
  }
  return (data) => {
    const xz = Bun.spawnSync([program, "--decompress", "--stdout"], { stdin: data, stderr: "pipe", env: {} })
    if (xz.success) return xz.stdout
    throw new Failure("BAD_FILE", `xz could not unpack ${data.length} bytes: ${xz.stderr.toString().trim()}`)
  }
}
