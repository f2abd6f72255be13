/** A VM's name: a DNS label of at most 63 characters. */
export const NAME_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/** The pattern in words. */
export const NAME_WORDS = "a DNS label: a-z, 0-9 and -, at most 63 long, not beginning or ending with -"
