/** Base of all errors of this package. */
export abstract class CountersignError extends Error {
  /** The reason by the name that the service gives it (`countersign-reason`), such as `TOKEN_EXPIRED`. */
  readonly reason: string

  protected constructor(message: string, reason: string) {
    super(message)
    this.name = new.target.name
    this.reason = reason
  }

  /** True if it may be different in a moment. */
  get isOutage(): boolean {
    return this.statusCode === 503
  }

  /** The status of HTTP that says this; Express and Fastify answer by it when a handler throws. */
  get statusCode(): number {
    return 500
  }
}

/** The token is missing, not valid, or dead: whoever sent it has to log in, or to refresh it. */
export class Unauthenticated extends CountersignError {
  constructor(reason: string) {
    super(`access token not accepted: ${reason}`, reason)
  }

  override get statusCode(): number {
    return 401
  }
}

/** The token is good, and its user lacks a role, or the caller may not make this call. */
export class Forbidden extends CountersignError {
  constructor(reason: string) {
    super(`not allowed: ${reason}`, reason)
  }

  override get statusCode(): number {
    return 403
  }
}

/** Nothing can be said now: nothing was heard for too long, or the service cannot be reached. Try again. */
export class Unavailable extends CountersignError {
  /** The code of the status of gRPC, where a call has failed. */
  readonly code: number | undefined

  constructor(reason: string, code?: number) {
    super(`authentication is not available: ${reason}`, reason)
    this.code = code
  }

  override get statusCode(): number {
    return 503
  }
}

/** The call was refused for another reason. */
export class Refused extends CountersignError {
  /** The code of the status of gRPC. */
  readonly code: number
  /** The text of the status. */
  readonly details: string

  constructor(reason: string, code: number, details: string) {
    super(`refused: ${reason}: ${details}`, reason)
    this.code = code
    this.details = details
  }
}

/** The settings of this client cannot be used. */
export class Invalid extends CountersignError {
  constructor(message: string) {
    super(message, 'INVALID_SETTINGS')
  }
}

/** Makes an outage of an error: what befell this service's own call says nothing of any token. */
export function asOutage(error: unknown): Unavailable {
  if (error instanceof Unavailable) return error
  return new Unavailable(error instanceof CountersignError ? error.reason : UNREACHABLE)
}

/** A defect of this package, or of what it was given. */
export const INTERNAL = 'INTERNAL'
export const TOKEN_MISSING = 'TOKEN_MISSING'
export const ROLE_MISSING = 'ROLE_MISSING'
export const REVOCATIONS_STALE = 'REVOCATIONS_STALE'
export const SIGNING_KEY_SECRET = 'SIGNING_KEY_SECRET'
export const UNREACHABLE = 'UNREACHABLE'
/** A name of something that was revoked, of a kind that this version does not know: perhaps every token. */
export const UNKNOWN_REVOCATION = 'UNKNOWN_REVOCATION'
export const KEYS_UNREADABLE = 'KEYS_UNREADABLE'
export const ISSUER_MISMATCH = 'ISSUER_MISMATCH'
export const SILENT = 'SILENT'
export const STREAM_ENDED = 'STREAM_ENDED'
export const CLOSED = 'CLOSED'
/** The wall clock was set, or the machine was paused, during a stream. */
export const CLOCK_STEPPED = 'CLOCK_STEPPED'
