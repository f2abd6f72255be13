/** A word of a command line, or an option with its value. */
export type Token = Positional | OptionToken

/** A word that is no option. */
export interface Positional {
  readonly kind: "positional"
  readonly value: string
}

/** An option as it was given. */
export interface OptionToken {
  readonly kind: "option"
  /** Its long name, without `no-`; the letter of one that has no long name. */
  readonly name: string
  /** As it was spelled: `--name`, `-n`, `--no-name`. */
  readonly rawName: string
  readonly value: string | undefined
  /** Whether the value stood in the option's own word. */
  readonly inlineValue: boolean | undefined
}

/** What must be known of an option: whether it takes a value, and the letter that stands for it. */
export interface OptionForm {
  readonly takesValue: boolean
  readonly short: string | undefined
}

/**
 * The tokens of a command line's words before `--`, as POSIX and GNU have them: `--name value`, `--name=value`, `-n value`,
 * `-nvalue`, `-abc`, `--no-name`. Each is one that node:util's parseArgs finds as well, whose module would take a millisecond of
 * each command. Pure; throws nothing.
 */
export function tokensOf(words: readonly string[], forms: ReadonlyMap<string, OptionForm>): Token[] {
  const nameOf = (short: string) => [...forms].find(([, form]) => form.short === short)?.[0] ?? short
  const takesValue = (name: string) => forms.get(name)?.takesValue === true
  const left = [...words]
  const tokens: Token[] = []
  const add = (rawName: string, name: string, inline?: string) => {
    const value = inline ?? (takesValue(name) ? left.shift() : undefined)
    const inlineValue = inline !== undefined ? true : value !== undefined ? false : undefined
    tokens.push({ kind: "option", name, rawName, value, inlineValue })
  }
  /** A letter that takes a value takes the rest of the word, if there is one, and else the next word. */
  const addGroup = (group: string) => {
    for (let at = 1; at < group.length; at++) {
      const [letter, rest] = [group.charAt(at), group.slice(at + 1)]
      const name = nameOf(letter)
      if (takesValue(name) && rest !== "") return add(`-${letter}`, name, rest)
      add(`-${letter}`, name)
    }
  }
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    const cut = word.indexOf("=", 3)
    if (word === "-" || !word.startsWith("-")) tokens.push({ kind: "positional", value: word })
    else if (word.startsWith("--") && cut !== -1) add(word.slice(0, cut), word.slice(2, cut), word.slice(cut + 1))
    else if (word.startsWith("--no-")) tokens.push(negative(word))
    else if (word.startsWith("--")) add(word, word.slice(2))
    else addGroup(word)
  }
  return tokens
}

// --- internal ---

function negative(word: string): OptionToken {
  return { kind: "option", name: word.slice(5), rawName: word, value: undefined, inlineValue: undefined }
}
