import type { Countersign } from './client.js'
import { type Moment, momentOf, since, systemClock } from './core/clock.js'
import { Unavailable } from './errors.js'
import type { LoginRequest, RevokeResponse, TokenPair } from './messages.js'

/** The part of an access token's life after which it is exchanged. */
const FRESH_FOR = 0.7
/** The life of an access token that does not say it, in milliseconds. */
const SHORT = 60_000
/** The time for which a token that is about to expire is still sent. */
const MARGIN = 2000
/** The time from an exchange that failed to the next one, while the token is good. */
const PAUSE = 1000

/** A pair of tokens, and at which age, in milliseconds, it is exchanged and over. The machine may sleep meanwhile. */
interface Kept {
  readonly pair: TokenPair
  readonly since: Moment
  refreshAfter: number
  readonly life: number
}

/** A session that stays alive: its access token is exchanged before it expires. */
export class Session {
  readonly #client: Countersign
  #kept: Kept
  /** The exchange that is under way, for all who ask. */
  #exchanging: Promise<string> | undefined

  private constructor(client: Countersign, kept: Kept) {
    this.#client = client
    this.#kept = kept
  }

  /** Opens a session with a password. Throws what a login throws. */
  static async login(client: Countersign, request: LoginRequest): Promise<Session> {
    const { tokens } = await client.login(request)
    return new Session(client, fresh(tokens))
  }

  /** Goes on with a pair of tokens from elsewhere. */
  static of(client: Countersign, tokens: TokenPair): Session {
    const life = lifeOf(tokens)
    return new Session(client, living(tokens, life === undefined ? 0 : Math.min(life.left, life.whole)))
  }

  /**
   * Gives the access token. It is exchanged before it expires, once for all who ask. Throws `Unauthenticated` when the session has
   * ended: log in again. Throws `Unavailable` when the token has expired and the service cannot be reached: ask again.
   */
  async accessToken(): Promise<string> {
    const kept = this.#kept
    if (ageOf(kept) < Math.min(kept.refreshAfter, kept.life)) return kept.pair.accessToken
    try {
      return await this.#exchange()
    } catch (error) {
      // It is good for a while, and so may the service be. Those who ask meanwhile do not all wait for it.
      const age = ageOf(kept)
      if (!(error instanceof Unavailable) || age + MARGIN >= kept.life) throw error
      kept.refreshAfter = age + PAUSE
      return this.#kept.pair.accessToken
    }
  }

  /** Gives headers that carry the access token, for `fetch`. Throws as `accessToken` does. */
  async headers(): Promise<{ authorization: string }> {
    return { authorization: `Bearer ${await this.accessToken()}` }
  }

  /** Gives the tokens as they are, to be kept elsewhere. */
  tokens(): TokenPair {
    return { ...this.#kept.pair }
  }

  /** Ends the session everywhere. */
  async logout(): Promise<RevokeResponse> {
    // What an exchange brings is ended too: any refresh token of the session ends it.
    await this.#exchanging?.catch(() => undefined)
    return this.#client.revoke({ refreshToken: this.#kept.pair.refreshToken })
  }

  #exchange(): Promise<string> {
    this.#exchanging ??= this.#refresh().finally(() => (this.#exchanging = undefined))
    return this.#exchanging
  }

  /** Exchanges the tokens, with the same refresh token again if an answer was lost. */
  async #refresh(): Promise<string> {
    const { tokens } = await this.#client.refresh({ refreshToken: this.#kept.pair.refreshToken })
    this.#kept = fresh(tokens)
    return this.#kept.pair.accessToken
  }
}

/** Tokens that have just been issued. Their life is what they say of it, whatever this machine's clock says. */
function fresh(pair: TokenPair | null): Kept {
  if (pair === null) throw new Unavailable('NO_TOKENS')
  return living(pair, lifeOf(pair)?.whole ?? SHORT)
}

function living(pair: TokenPair, life: number): Kept {
  return { pair, since: momentOf(systemClock), refreshAfter: life * FRESH_FOR, life }
}

function ageOf(kept: Kept): number {
  return since(momentOf(systemClock), kept.since)
}

/** The whole life of an access token, and what is left of it by this machine's clock; undefined for one that does not say. */
function lifeOf({ accessToken }: TokenPair): { whole: number; left: number } | undefined {
  try {
    const payload = Buffer.from(accessToken.split('.')[1] ?? '', 'base64url')
    const { iat, exp } = JSON.parse(payload.toString()) as { iat: unknown; exp: unknown }
    if (typeof iat !== 'number' || typeof exp !== 'number') return undefined
    return { whole: Math.max(exp - iat, 0) * 1000, left: Math.max(exp * 1000 - Date.now(), 0) }
  } catch {
    return undefined
  }
}
