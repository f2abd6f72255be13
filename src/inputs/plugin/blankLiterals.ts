/**
 * JavaScript with every string emptied but `"banger"`, and of each template the code in it in parentheses: what is left has no
 * brackets or words but those of code and that one. Undefined where that cannot be told for certain: a regular expression could
 * be a division, and hides quotes. Pure.
 */
export function blankLiterals(text: string): string | undefined {
  let out = ""
  let at = 0
  /** For each template that is open: how deep in braces its code is. */
  const templates: number[] = []
  let depth = 0
  const skipString = (quote: string) => {
    const begin = ++at
    for (; at < text.length && text[at] !== quote; at++) if (text[at] === "\\") at++
    out += text.slice(begin, at) === "banger" ? '"banger"' : '""'
    at++
  }
  /** From within a template to its end, or to its next code. */
  const skipTemplate = () => {
    for (; at < text.length; at++) {
      if (text[at] === "\\") at++
      else if (text[at] === "`") {
        at++
        out += ")"
        return
      } else if (text[at] === "$" && text[at + 1] === "{") {
        at += 2
        templates.push(depth)
        out += "("
        return
      }
    }
  }
  while (at < text.length) {
    const char = text[at] as string
    if (char === "/") return undefined
    if (char === '"' || char === "'") skipString(char)
    else if (char === "`") {
      at++
      out += "("
      skipTemplate()
    } else if (char === "}" && templates.at(-1) === depth) {
      templates.pop()
      at++
      out += ")"
      skipTemplate()
    } else {
      if (char === "{") depth++
      if (char === "}") depth--
      out += char
      at++
    }
  }
  return depth === 0 && templates.length === 0 ? out : undefined
}

/** Code cut where `separator` stands outside all brackets, each part trimmed. Pure. */
export function splitAt(code: string, separator: RegExp): readonly string[] {
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let at = 0; at < code.length; at++) {
    const char = code[at] as string
    if ("([{".includes(char)) depth++
    else if (")]}".includes(char)) depth--
    else if (depth === 0 && separator.test(char)) {
      parts.push(code.slice(start, at).trim())
      start = at + 1
    }
  }
  return [...parts, code.slice(start).trim()]
}
