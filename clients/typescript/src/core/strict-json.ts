/** Members of a JSON object by their names; each value is the text that it has in the document. */
export type Members = Map<string, string>

const LONE_SURROGATE = /\p{Surrogate}/u

/**
 * Reads an object, and refuses one that has a name twice, which `JSON.parse` does not notice. Objects within it are not
 * looked at. Gives undefined for a text that is no such object.
 */
export function readObject(text: string): Members | undefined {
  try {
    // All of the grammar; what follows relies on it.
    JSON.parse(text)
  } catch {
    return undefined
  }
  let at = skipSpace(text, 0)
  if (text[at] !== '{') return undefined
  const members: Members = new Map()
  at = skipSpace(text, at + 1)
  while (text[at] !== '}') {
    const nameEnd = skipString(text, at)
    const name = asText(text.slice(at, nameEnd))
    if (name === undefined || members.has(name)) return undefined
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1)
    const end = skipValue(text, start)
    members.set(name, text.slice(start, end))
    at = skipSpace(text, end)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
  return members
}

/** Gives the string that a value is, or undefined. Half of a pair of surrogates is no text. */
export function asText(value: string | undefined): string | undefined {
  if (value === undefined || value[0] !== '"') return undefined
  const text = JSON.parse(value) as string
  return LONE_SURROGATE.test(text) ? undefined : text
}

/** Gives the array of strings that a value is, or undefined. */
export function asTexts(value: string | undefined): string[] | undefined {
  if (value === undefined || value[0] !== '[') return undefined
  const texts = JSON.parse(value) as unknown[]
  const sound = texts.every((text) => typeof text === 'string' && !LONE_SURROGATE.test(text))
  return sound ? (texts as string[]) : undefined
}

/** Gives the whole number that a value is, or undefined for one with a fraction, an exponent, or a negative zero. */
export function asInteger(value: string | undefined): bigint | undefined {
  return value !== undefined && /^(?:0|-?[1-9][0-9]*)$/.test(value) ? BigInt(value) : undefined
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at += 1
  return at
}

/** The end of a string that begins at `from`. */
function skipString(text: string, from: number): number {
  let at = from + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

/** The end of a value that begins at `from`. */
function skipValue(text: string, from: number): number {
  let depth = 0
  let at = from
  do {
    const letter = text[at]
    if (letter === '"') {
      at = skipString(text, at)
      continue
    }
    if (letter === '{' || letter === '[') depth += 1
    if (letter === '}' || letter === ']') depth -= 1
    at += 1
    // A number or a word ends before what ends a value.
  } while (depth > 0 || !/[,}\]\s]/.test(text[at] ?? ','))
  return at
}
