import type { Principal } from './core/claims.js'
import type { Demand } from './demand.js'
import { TOKEN_MISSING, Unauthenticated } from './errors.js'
import type { Verifier } from './verifier.js'

/** What requests need. */
export interface GuardSettings extends Demand {
  /** Paths that everybody may use, such as `/health`. They are compared letter by letter: every other spelling is guarded. */
  readonly public?: readonly string[] | undefined
  /**
   * Demands of paths, in the place of what all others need. A path of another spelling needs what all others need: so demand
   * roles at the route, or of all. Of Fastify these are routes too, such as `/orders/:id`, and hold for all spellings.
   */
  readonly at?: Readonly<Record<string, Demand>> | undefined
}

const callers = new WeakMap<object, Principal>()

/**
 * Gives the user and session whose request this is: of Node, Express or Fastify, or a call of grpc-js. Throws `Unauthenticated`
 * where no guard has verified one.
 */
export function callerOf(request: object): Principal {
  const { raw, metadata } = request as { raw?: unknown; metadata?: unknown }
  for (const it of [request, raw, metadata]) {
    const caller = typeof it === 'object' && it !== null ? callers.get(it) : undefined
    if (caller !== undefined) return caller
  }
  throw new Unauthenticated(TOKEN_MISSING)
}

/** Decides about requests, wherever they come from. */
export class Guard {
  readonly #verifier: Verifier
  readonly #all: Demand
  readonly #byPath: ReadonlyMap<string, Demand | undefined>

  constructor(verifier: Verifier, settings: GuardSettings) {
    this.#verifier = verifier
    this.#all = { audience: settings.audience, roles: settings.roles }
    const open = (settings.public ?? []).map((path) => [path, undefined] as const)
    this.#byPath = new Map([...open, ...Object.entries(settings.at ?? {})])
  }

  /**
   * Lets a request in, or throws why not. `key` is the object by which its caller is found, `names` are those of its path: the
   * first that is listed counts.
   */
  async admit(key: object, names: readonly string[], authorization: readonly unknown[]): Promise<void> {
    const listed = names.find((name) => this.#byPath.has(name))
    const demand = listed === undefined ? this.#all : this.#byPath.get(listed)
    if (demand === undefined) return
    callers.set(key, await this.#verifier.verify(bearer(authorization), demand))
  }
}

/** The token of the one header that there may be (RFC 6750 section 2.1). */
export function bearer(values: readonly unknown[]): string {
  const [value] = values
  if (values.length !== 1 || typeof value !== 'string' || !/^[\t\x20-\x7e]*$/.test(value)) {
    throw new Unauthenticated(TOKEN_MISSING)
  }
  const space = value.indexOf(' ')
  const token = value.slice(space + 1).trim()
  if (space < 0 || value.slice(0, space).toLowerCase() !== 'bearer' || token === '') {
    throw new Unauthenticated(TOKEN_MISSING)
  }
  return token
}
