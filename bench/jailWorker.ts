// Stages and tears down a jail, once for each line on standard input. Arguments: base, id, kernel, image, library directory.
import { hostPath } from "../src/base/terms/path.ts"
import { tearDown } from "../src/host/jail/tearDown.ts"
import { stage } from "./jail.ts"

const [base = "", id = "", kernel = "", image = "", library = ""] = process.argv.slice(2)
for await (const _ of console) {
  const inode = await stage({ base: hostPath(base), kernel, image, library }, id)
  tearDown({ base: hostPath(base), vmm: "qemu", id }, inode)
  console.log("done")
}
