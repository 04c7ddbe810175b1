/** A moment; seconds since 1970 as digits, because they may be more than a number holds. */
export interface Timestamp {
  seconds: string
  nanos: number
}

/** A length of time. */
export interface Duration {
  seconds: string
  nanos: number
}

/** What the caller knows of the program or person behind a session. */
export interface ClientInfo {
  ip?: string
  userAgent?: string
  device?: string
}

/** The tokens of one session. Both are secrets. */
export interface TokenPair {
  accessToken: string
  accessTokenExpiresAt: Timestamp | null
  refreshToken: string
  refreshTokenExpiresAt: Timestamp | null
  sessionId: string
}

/** The user and session of a token, as the service says it. */
export interface PrincipalMessage {
  userId: string
  sessionId: string
  tokenId: string
  roles: string[]
  audience: string[]
  issuedAt: Timestamp | null
  expiresAt: Timestamp | null
  username: string
}

export interface LoginRequest {
  username: string
  password: string
  audience?: string[]
  client?: ClientInfo
  deviceHint?: string
}

export interface LoginResponse {
  tokens: TokenPair | null
  deviceHint: string
}

export interface VerifyRequest {
  accessToken: string
  audience?: string
  maxStaleness?: Duration
}

export interface VerifyResponse {
  principal: PrincipalMessage | null
  revocationsAsOf: Timestamp | null
}

export interface VerifyBatchRequest {
  accessTokens: string[]
  audience?: string
  maxStaleness?: Duration
}

export interface VerifyBatchResponse {
  results: { result?: 'principal' | 'rejection'; principal?: PrincipalMessage; rejection?: string }[]
  revocationsAsOf: Timestamp | null
}

export interface RefreshRequest {
  refreshToken: string
  accessToken?: string
  client?: ClientInfo
}

export interface RefreshResponse {
  tokens: TokenPair | null
  replayed: boolean
}

/** A request that names one of the four targets. */
export interface RevokeRequest {
  refreshToken?: string
  accessToken?: string
  sessionId?: string
  userId?: string
  keepSessionId?: string
  wait?: Duration
}

export interface RevokeResponse {
  sessionsRevoked: number
  confirmed: boolean
  everywhereBy: Timestamp | null
  proxiesConnected: number
  proxiesConfirmed: number
}

export interface ListSessionsRequest {
  userId: string
  pageSize?: number
  pageToken?: string
}

export interface SessionMessage {
  sessionId: string
  userId: string
  createdAt: Timestamp | null
  lastRefreshedAt: Timestamp | null
  expiresAt: Timestamp | null
  client: ClientInfo | null
  absoluteExpiresAt: Timestamp | null
}

export interface ListSessionsResponse {
  sessions: SessionMessage[]
  nextPageToken: string
}

export interface GetJwksResponse {
  jwks: string
}

/** A revocation, of which the kind is absent if this version does not know it. */
export interface RevocationMessage {
  subject?: 'sessionId' | 'user' | 'openedBefore'
  sessionId?: string
  user?: { userId: string; leastEpoch: string }
  openedBefore?: Timestamp
  expiresAt?: Timestamp | null
}

export interface RevocationsMessage {
  revocations: RevocationMessage[]
  position: string
}

/** A message of WatchRevocations. */
export interface WatchRevocationsResponse {
  event?: 'keys' | 'snapshot' | 'additions' | 'heartbeat'
  keys?: { jwks: string; issuer: string }
  snapshot?: RevocationsMessage
  additions?: RevocationsMessage
  heartbeat?: { completeAsOf?: Duration | null; sentAt?: Timestamp | null }
}

/** Milliseconds of a moment since 1970, or of a length of time. */
export function milliseconds(time: Timestamp | Duration): number {
  return Number(time.seconds) * 1000 + time.nanos / 1e6
}
