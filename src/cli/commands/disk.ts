import { usageError } from "../../base/terms/failure.ts"
import { NAME_PATTERN, NAME_WORDS } from "../../base/terms/name.ts"
import { formatSize, parseSize } from "../../base/terms/quantity.ts"
import { DISK_SIZE_WORDS, isDiskSize } from "../../inputs/schema/vm.ts"
import { type ChangedDisk, removeDisk, resizeDisk } from "../../operations/diskChange.ts"
import { exportDisk, importDisk, streamDisk } from "../../operations/diskCopy.ts"
import { listPersistentDisks } from "../../operations/diskList.ts"
import { openState } from "../../store/state/open.ts"
import type { DiskFile } from "../show/documents.ts"
import { table } from "../show/table.ts"
import { command } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"

const nameArg = { type: "positional", required: true, description: "The disk" } as const

const ls = command({
  meta: { name: "ls", description: "List the persistent disks, and which VM has each" },
  args: {},
  run(_values, { output }) {
    using state = openState()
    const disks = listPersistentDisks(state, output.log)
    if (disks.length === 0) output.log.info("there are no disks: a plugin's `persist` makes one")
    const rows = disks.map(({ name, sizeBytes, usedBytes, vm }) => [
      ...[name, formatSize(sizeBytes), formatSize(usedBytes)],
      vm === null ? "-" : `${vm.id} (${vm.state})`,
    ])
    output.show(disks, rows.length === 0 ? "" : table(["NAME", "SIZE", "USED", "VM"], rows))
    return undefined
  },
})

const rm = command({
  meta: { name: "rm", description: "Remove a disk and all that is on it" },
  args: { name: nameArg },
  async run({ name }, { output }) {
    using state = openState()
    tell(output, "removed", await removeDisk(state, named(name)))
    return undefined
  },
})

const resize = command({
  meta: { name: "resize", description: "Make a disk larger; its guest grows the file system" },
  args: { name: nameArg, size: { type: "positional", required: true, description: "Its size from now on: 20G" } },
  async run({ name, size }, { output }) {
    const bytes = parseSize(size)
    if (bytes === undefined || !isDiskSize(bytes))
      throw usageError(`${JSON.stringify(size)} is no size for a disk`, {
        hint: `use ${DISK_SIZE_WORDS}`,
        subject: "SIZE",
      })
    using state = openState()
    const disk = await resizeDisk(state, named(name), bytes)
    tell(output, `has ${formatSize(disk.sizeBytes)} now:`, disk)
    return undefined
  },
})

const exportCommand = command({
  meta: { name: "export", description: "Write a disk's content to a new file, or to standard output" },
  args: {
    name: nameArg,
    file: { type: "positional", required: true, description: "The file to make; - for standard output" },
  },
  async run({ name, file }, { output }) {
    using state = openState()
    if (file !== "-") {
      tell(output, "exported to", await exportDisk(state, named(name), file))
      return undefined
    }
    if (output.manner.json || process.stdout.isTTY)
      throw usageError("standard output takes no disk here", {
        hint: output.manner.json ? "name a file, or leave --json out" : "name a file, or send it to a program",
        subject: "FILE",
      })
    await streamDisk(state, named(name), (piece) => output.print(piece))
    return undefined
  },
})

const importCommand = command({
  meta: { name: "import", description: "Make a disk of a raw image" },
  args: {
    name: nameArg,
    file: { type: "positional", required: true, description: "The raw image; - for standard input" },
    replace: { type: "boolean", description: "Also where there is a disk of that name: that one goes" },
  },
  async run({ name, file, replace }, { output }) {
    using state = openState()
    const stream = file === "-" ? Bun.stdin.stream() : undefined
    const disk = await importDisk(state, named(name), file, { replace: replace === true, stream })
    tell(output, `imported (${formatSize(disk.sizeBytes)}):`, disk)
    return undefined
  },
})

export default command({
  meta: { name: "disk", description: "Look after persistent disks: list, remove, copy and resize them" },
  args: {},
  subCommands: { ls, rm, export: exportCommand, import: importCommand, resize },
})

// --- internal ---

function named(name: string): string {
  if (NAME_PATTERN.test(name)) return name
  throw usageError(`${JSON.stringify(name)} is no name of a disk`, { hint: `it is ${NAME_WORDS}`, subject: "NAME" })
}

function tell(output: Output, done: string, { name, path, sizeBytes }: ChangedDisk): void {
  output.log.info(`${name} ${done} ${path}`)
  output.show({ name, path, sizeBytes } satisfies DiskFile, "")
}
