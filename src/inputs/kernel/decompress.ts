import { Failure } from "../../base/terms/failure.ts"
import { findProgram } from "../../store/files/programs.ts"
import { isLegacyLz4, unpackLegacyLz4 } from "./lz4.ts"

type Format = { name: string; magic: readonly number[]; unpack: (data: Uint8Array<ArrayBuffer>) => Uint8Array }

const formats: readonly Format[] = [
  { name: "gzip", magic: [0x1f, 0x8b], unpack: (data) => Bun.gunzipSync(data) },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], unpack: (data) => Bun.zstdDecompressSync(data) },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], unpack: unpackXz },
]

/** Unpacks every compression that distributions use for kernels and modules; returns other bytes as they are. */
export function decompress(data: Uint8Array<ArrayBuffer>): Uint8Array {
  if (isLegacyLz4(data)) return unpackLegacyLz4(data)
  const format = formats.find(({ magic }) => magic.every((byte, index) => data[index] === byte))
  return format ? format.unpack(data) : data
}

function unpackXz(data: Uint8Array<ArrayBuffer>): Uint8Array {
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
  const xz = Bun.spawnSync([program, "--decompress", "--stdout"], { stdin: data, stderr: "pipe", env: {} })
  if (!xz.success)
    throw new Failure("BAD_FILE", `xz could not unpack ${data.length} bytes: ${xz.stderr.toString().trim()}`)
  return xz.stdout
}
