// Asks the QEMU of a host: `qmp.ts SOCKET port` prints the port of 127.0.0.1 that leads to its sshd, `qmp.ts SOCKET reset` resets it
// as if its power had failed.
import { connectQmp } from "../../src/host/qemu/qmp.ts"

const [socket = "", what] = process.argv.slice(2)
const qmp = await connectQmp(socket, () => {})
await qmp.ready
if (what === "reset") await qmp.command("system_reset")
else {
  const network = String(await qmp.command("human-monitor-command", { "command-line": "info usernet" }))
  const port = /TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(?<port>\d+)/.exec(network)?.groups?.port
  if (port === undefined) throw new Error(`QEMU forwards no port:\n${network}`)
  console.log(port)
}
process.exit()
