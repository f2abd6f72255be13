import { usageError } from "../../base/terms/failure.ts"
import type { Text } from "../show/documents.ts"
import { command } from "../terminal/command.ts"
import { findCommand } from "../terminal/findCommand.ts"
import { help } from "../terminal/help.ts"
import { TOPICS, topicText } from "../terminal/topics.ts"

export default command({
  meta: { name: "help", description: "Explain a command, or a topic" },
  args: {
    what: { type: "positional", required: false, description: "A command, or a topic; then a command below it" },
  },
  takesMany: true,
  async run({ what }, { more, output, root }) {
    const topic = what === undefined ? undefined : topicText(what)
    if (topic === undefined) {
      const words = what === undefined ? [] : [what, ...more]
      const { command, path, left } = await findCommand(root, words, Object.keys(TOPICS))
      if (left[0] !== undefined) throw usageError(`${path.join(" ")} has no command ${left[0]}`, { subject: left[0] })
      const text = await help(root, command, path)
      output.show({ text } satisfies Text, text)
    } else output.show({ text: topic } satisfies Text, topic)
    return undefined
  },
})
