import { status } from '@grpc/grpc-js'
import { jittered, unary } from './calls.js'
import { connect, type Endpoint, type EndpointSettings } from './endpoints.js'
import { CountersignError, Invalid, Unavailable, UNREACHABLE } from './errors.js'
import type {
  GetJwksResponse,
  ListSessionsRequest,
  ListSessionsResponse,
  LoginRequest,
  LoginResponse,
  RefreshRequest,
  RefreshResponse,
  RevokeRequest,
  RevokeResponse,
  VerifyBatchRequest,
  VerifyBatchResponse,
  VerifyRequest,
  VerifyResponse,
} from './messages.js'

/** Settings of a client. */
export interface CountersignSettings extends EndpointSettings {
  /** The time that a call may take with all its retries, in milliseconds; 5,000 unless set. */
  readonly deadline?: number | undefined
}

/** Rounds through all replicas. */
const ROUNDS = 2
const PAUSE = 100

/** Calls Countersign: one replica, and another when that one is away. All calls throw what the contract says, by `reason`. */
export class Countersign {
  readonly #endpoints: readonly Endpoint[]
  readonly #deadline: number
  /** The replica that answered last. */
  #preferred = 0

  /** Throws `Invalid` for settings that cannot be used. */
  constructor(settings: CountersignSettings) {
    this.#deadline = settings.deadline ?? 5000
    if (!Number.isFinite(this.#deadline) || this.#deadline <= 0) throw new Invalid('the deadline is no number above 0')
    this.#endpoints = connect(settings)
  }

  /** Checks a password and opens a session. A lost answer is asked for again: it leaves a session that nobody holds. */
  login(request: LoginRequest): Promise<LoginResponse> {
    return this.#call('login', request)
  }

  /** Asks the service whose an access token is. A `Verifier` knows that without a call. */
  verify(request: VerifyRequest): Promise<VerifyResponse> {
    return this.#call('verify', request)
  }

  /** Asks the service whose many access tokens are. */
  verifyBatch(request: VerifyBatchRequest): Promise<VerifyBatchResponse> {
    return this.#call('verifyBatch', request)
  }

  /** Exchanges a refresh token. A lost answer is asked for again with the same token. */
  refresh(request: RefreshRequest): Promise<RefreshResponse> {
    return this.#call('refresh', request)
  }

  /** Ends sessions. */
  revoke(request: RevokeRequest): Promise<RevokeResponse> {
    return this.#call('revoke', request)
  }

  /** Lists the live sessions of a user. */
  listSessions(request: ListSessionsRequest): Promise<ListSessionsResponse> {
    return this.#call('listSessions', request)
  }

  /** Reads the public keys. */
  getJwks(): Promise<GetJwksResponse> {
    return this.#call('getJwks', {})
  }

  /** Closes all connections. */
  close(): void {
    for (const { client } of this.#endpoints) client.close()
  }

  /** Makes a call that is safe to make again, at one replica after the other. */
  async #call<A>(name: string, request: object): Promise<A> {
    const until = performance.now() + this.#deadline
    const count = this.#endpoints.length
    const first = this.#preferred
    let last: CountersignError = new Unavailable(UNREACHABLE)
    for (let attempt = 0; attempt < Math.max(count, 2) * ROUNDS; attempt += 1) {
      const place = (first + attempt) % count
      const endpoint = this.#endpoints[place]
      if (attempt > 0 && attempt % count === 0) await pause(jittered(PAUSE))
      const left = until - performance.now()
      if (left <= 0 || endpoint === undefined) break
      try {
        // One that hangs leaves time for the others.
        const answer = await unary<A>(endpoint, name, request, count > 1 ? left / 2 : left)
        this.#preferred = place
        return answer
      } catch (error) {
        if (!(error instanceof Unavailable) || error.code === status.RESOURCE_EXHAUSTED) throw error
        last = error
      }
    }
    throw last
  }
}

function pause(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time))
}
