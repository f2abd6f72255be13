import * as v from "valibot"
import { NAME_PATTERN, NAME_WORDS } from "../../base/terms/name.ts"
import { parseDuration, parseSize } from "../../base/terms/quantity.ts"
import { firecrackerSpec } from "./firecracker.ts"
import { networkSpec } from "./network.ts"
import { path, repeated } from "./path.ts"

// The room schema: what a plugin may write, with every default.
// The rule: a refusal says what is allowed.

const MIB_BYTES = 1024 * 1024

/** Guests see at most /dev/vda to /dev/vdp: what both VMMs have interrupt lines for. */
const DRIVES_MAX_COUNT = 16

const MEMORY_WORDS = 'a size in whole MiB from 16M to 16T: "256M", "2G"'
const VCPUS_WORDS = "a whole number from 1 to 32"

const name = v.pipe(v.string(NAME_WORDS), v.regex(NAME_PATTERN, NAME_WORDS))

const memory = v.pipe(
  v.string(MEMORY_WORDS),
  v.transform((text) => parseSize(text) ?? Number.NaN),
  v.check(
    (bytes) => bytes >= 16 * MIB_BYTES && bytes <= 16 * 1024 * 1024 * MIB_BYTES && bytes % MIB_BYTES === 0,
    MEMORY_WORDS,
  ),
  v.transform((bytes) => bytes / MIB_BYTES),
)

/** What `isDiskSize` takes, in words. */
export const DISK_SIZE_WORDS = 'a size in whole MiB from 1M to 16T: "10G"'

/** Whether a persistent disk may have this many bytes. Pure. */
export function isDiskSize(bytes: number): boolean {
  return bytes >= MIB_BYTES && bytes <= 16 * 1024 * 1024 * MIB_BYTES && bytes % MIB_BYTES === 0
}

const DURATION_WORDS = 'a time with its unit: "500ms", "30s", "5m"'

/** A time limit, as milliseconds. Timers cannot count beyond 24.8 days, and then ring at once. */
const durationSchema = v.pipe(
  v.string(DURATION_WORDS),
  v.transform((text) => parseDuration(text) ?? Number.NaN),
  v.check((ms) => ms > 0 && ms <= 24 * 3_600_000, `${DURATION_WORDS}, above 0 and at most 24h`),
)

const driveEntries = {
  id: v.optional(v.pipe(v.string("a name"), v.regex(/^[a-z0-9_]{1,20}$/, "a name of a-z, 0-9 and _, at most 20 long"))),
  readonly: v.optional(v.boolean("true or false"), false),
  root: v.optional(v.boolean("true or false"), false),
}

/** What is in an image; without it banger takes it for raw, and refuses what begins as another format does. */
const format = v.optional(v.picklist(["raw", "qcow2"], '"raw" or "qcow2"'))

/** A file or block device of this host. */
const hostDrive = v.pipe(
  v.strictObject({
    ...driveEntries,
    path,
    format,
    stage: v.optional(v.picklist(["bind", "clone", "copy", "link"], '"bind", "clone", "copy" or "link"')),
    write: v.optional(v.picklist(["private", "shared"], '"private" or "shared"')),
  }),
  v.check(({ write, readonly }) => write === undefined || !readonly, "no `write` of a drive that is only read"),
  v.check(
    ({ write, stage }) =>
      stage === undefined || write === undefined || (write === "shared") === (stage === "bind" || stage === "link"),
    '`stage: "bind"` or `"link"` with `write: "shared"`, `"clone"` or `"copy"` with `"private"`',
  ),
  v.check(
    ({ write, format }) => format !== "qcow2" || write !== "shared",
    "no shared qcow2 image: it is converted; `persist` keeps a disk",
  ),
  v.check(
    ({ stage, format }) => format !== "qcow2" || stage === undefined,
    "no `stage` of a qcow2 image: it is converted",
  ),
)

/** A disk that outlives its VMs; `path`: the image that it is first made from; `size` as `parseSize` reads it. */
const diskDrive = v.strictObject({
  ...driveEntries,
  persist: name,
  path: v.optional(path),
  format,
  size: v.optional(
    v.pipe(
      v.string(DISK_SIZE_WORDS),
      // It stays a text: a hook that adds a drive has them all checked again.
      v.check((text) => isDiskSize(parseSize(text) ?? Number.NaN), DISK_SIZE_WORDS),
    ),
  ),
})

const drive = v.lazy((input) =>
  typeof input === "object" && input !== null && ("persist" in input || "size" in input) ? diskDrive : hostDrive,
)

/** The keys that some drive has. */
export const DRIVE_KEYS: readonly string[] = Object.keys({ ...hostDrive.entries, ...diskDrive.entries })

const UID_WORDS = "a whole number from 1 to 4294967293"
const uid = v.pipe(
  v.number(UID_WORDS),
  v.check((n) => Number.isInteger(n) && n >= 1 && n <= 0xffff_fffd, UID_WORDS),
)

const jail = v.union(
  [v.boolean(), v.strictObject({ uid: v.optional(uid), gid: v.optional(uid) })],
  "true, false or { uid, gid }",
)

/** A smaller one is a mistake in its unit. */
const MEMORY_LIMIT_WORDS = 'a size of at least 16M with its unit, "2G": a number alone counts bytes'
const memoryLimit = v.pipe(
  v.string(MEMORY_LIMIT_WORDS),
  v.transform((text) => parseSize(text) ?? Number.NaN),
  v.check((n) => n >= 16 * MIB_BYTES, MEMORY_LIMIT_WORDS),
)
const RATE_WORDS = 'a size of at least 4K with its unit, "10M": a number alone counts bytes'
const rate = v.pipe(
  v.string(RATE_WORDS),
  v.transform((text) => parseSize(text) ?? Number.NaN),
  v.check((n) => n >= 4096, RATE_WORDS),
)
const COUNT_WORDS = "a whole number above 0"
const count = v.pipe(
  v.number(COUNT_WORDS),
  v.check((n) => Number.isSafeInteger(n) && n > 0, COUNT_WORDS),
)
const CPUS_WORDS = "a number of processors from 0.01 on"
/** Limits of a VM's cgroup. */
export const limitsSpec = v.strictObject({
  memory: v.optional(memoryLimit),
  cpus: v.optional(
    v.pipe(
      v.number(CPUS_WORDS),
      v.check((n) => n >= 0.01 && n <= 10_000, CPUS_WORDS),
    ),
  ),
  pids: v.optional(count),
  io: v.optional(
    v.array(
      v.strictObject({
        device: path,
        readBytes: v.optional(rate),
        writeBytes: v.optional(rate),
        readOps: v.optional(count),
        writeOps: v.optional(count),
      }),
      "a list of limits on block devices",
    ),
  ),
})

/** How long a guest has to stop where nobody says. */
export const STOP_DEFAULT = "30s"

const timeouts = v.strictObject({
  start: v.optional(durationSchema, "30s"),
  stop: v.optional(durationSchema, STOP_DEFAULT),
  run: v.optional(durationSchema),
  hook: v.optional(durationSchema, "60s"),
  configure: v.optional(durationSchema),
  preBoot: v.optional(durationSchema),
  postBoot: v.optional(durationSchema),
  preStop: v.optional(durationSchema),
  postStop: v.optional(durationSchema),
  sweepCandidate: v.optional(durationSchema),
})

const CONSOLE_WORDS = 'a size of at least 64K with its unit: "16M"'
const consoleOptions = v.strictObject({
  limit: v.optional(
    v.pipe(
      v.string(CONSOLE_WORDS),
      v.transform((text) => parseSize(text) ?? Number.NaN),
      v.check((bytes) => bytes >= 64 * 1024, CONSOLE_WORDS),
    ),
    "16M",
  ),
})

const POLICY_WORDS = '"no", "on-failure", "unless-stopped" or "always"'
const policy = v.picklist(["no", "on-failure", "unless-stopped", "always"], POLICY_WORDS)
const LIMIT_WORDS = "a whole number from 1 to 1000"
const restartOptions = v.strictObject({
  policy: v.optional(policy, "on-failure"),
  limit: v.optional(
    v.pipe(v.number(LIMIT_WORDS), v.integer(LIMIT_WORDS), v.minValue(1, LIMIT_WORDS), v.maxValue(1000, LIMIT_WORDS)),
    5,
  ),
  delay: v.optional(durationSchema, "1s"),
})
const restart = v.lazy((input) =>
  typeof input === "object" && input !== null
    ? restartOptions
    : v.pipe(
        policy,
        v.transform((only) => ({ policy: only, limit: 5, delay: 1000 })),
      ),
)

const AFTER_WORDS = "the name of a VM, or a list of at most 64 names"
const after = v.pipe(
  v.union([name, v.array(name)], AFTER_WORDS),
  v.transform((names) => [names].flat()),
  v.maxLength(64, AFTER_WORDS),
)

const commandLine = v.pipe(
  v.string("a kernel command line"),
  v.maxLength(2048, "a kernel command line of at most 2048 characters"),
  v.check((text) => !/[\0\n]/.test(text), "a kernel command line without newlines"),
)

/**
 * What a plugin says about its VM. Input is what plugin files write (banger.d.ts has the words for users); output has
 * every default filled in, sizes in MiB or bytes as named, times in milliseconds.
 */
export const specSchema = v.strictObject({
  name: v.optional(name),
  kernel: path,
  initrd: v.optional(path),
  bootArgs: v.optional(commandLine, "console=ttyS0 reboot=k panic=1"),
  extraBootArgs: v.optional(commandLine),
  vcpus: v.optional(
    v.pipe(
      v.number(VCPUS_WORDS),
      v.check((n) => Number.isInteger(n) && n >= 1 && n <= 32, VCPUS_WORDS),
    ),
    1,
  ),
  memory: v.optional(memory, "256M"),
  drives: v.optional(
    v.pipe(
      v.array(drive, "a list of drives"),
      v.maxLength(DRIVES_MAX_COUNT, `at most ${DRIVES_MAX_COUNT} drives`),
      v.check((drives) => drives.filter((d) => d.root).length <= 1, "one root drive at most"),
      v.check((drives) => repeated(drives.map((d) => d.id)) === undefined, "a different id for each drive"),
      v.check(
        (drives) => repeated(drives.filter(isDisk).map((d) => d.persist)) === undefined,
        "a different disk for each drive",
      ),
    ),
    [],
  ),
  network: v.optional(networkSpec, false),
  vmm: v.optional(v.picklist(["auto", "firecracker", "qemu"], '"auto", "firecracker" or "qemu"'), "auto"),
  accel: v.optional(v.picklist(["auto", "kvm", "tcg"], '"auto", "kvm" or "tcg"'), "auto"),
  firecracker: v.optional(firecrackerSpec, {}),
  jail: v.optional(jail),
  limits: v.optional(limitsSpec, {}),
  timeouts: v.optional(timeouts, {}),
  console: v.optional(consoleOptions, {}),
  ends: v.optional(v.picklist(["any", "reset", "poweroff"], '"any", "reset" or "poweroff"'), "any"),
  restart: v.optional(restart, "no"),
  after: v.optional(after, []),
  unsafeClone: v.optional(v.boolean("true or false"), false),
})

/** A spec as plugin files write it. */
export type SpecInput = v.InferInput<typeof specSchema>

/** A spec with every default filled in. */
export type Spec = Omit<v.InferOutput<typeof specSchema>, "extraBootArgs">

/** A drive that is a file or block device of this host. */
export type HostDrive = v.InferOutput<typeof hostDrive>

/** A drive that is a persistent disk. */
export type DiskDrive = v.InferOutput<typeof diskDrive>

/** A drive of a spec. */
export type Drive = HostDrive | DiskDrive

/** Whether a drive is a persistent disk. Pure. */
export function isDisk(drive: Drive): drive is DiskDrive {
  return "persist" in drive
}
