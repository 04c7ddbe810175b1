import { type Metadata, status, type StatusObject, Metadata as GrpcMetadata } from '@grpc/grpc-js'
import { CountersignError, Forbidden, Refused, Unauthenticated, Unavailable, UNREACHABLE } from './errors.js'

/** The trailer that says the reason. */
export const REASON = 'countersign-reason'
const DETAILS = 'grpc-status-details-bin'
const DOMAIN = 'countersign'
const ERROR_INFO = 'type.googleapis.com/google.rpc.ErrorInfo'

/** A status of gRPC, as calls throw it. */
export interface CallStatus {
  readonly code?: number
  readonly details?: string
  readonly metadata?: Metadata
}

/** Makes an error of a status. A status without one of our reasons says nothing of a token. */
export function errorOf(answer: CallStatus): CountersignError {
  const { code = status.UNKNOWN, details = '' } = answer
  const reason = reasonOf(answer)
  switch (code) {
    case status.UNAVAILABLE:
    case status.DEADLINE_EXCEEDED:
    case status.RESOURCE_EXHAUSTED:
    case status.CANCELLED:
      return new Unavailable(reason ?? UNREACHABLE, code)
    case status.UNAUTHENTICATED:
      return reason === undefined ? new Unavailable(UNREACHABLE) : new Unauthenticated(reason)
    case status.PERMISSION_DENIED:
      return reason === undefined ? new Unavailable(UNREACHABLE) : new Forbidden(reason)
    case status.UNKNOWN:
    case status.INTERNAL:
      // What stands between, or is no Countersign.
      if (reason === undefined) return new Unavailable(UNREACHABLE)
  }
  return new Refused(reason ?? 'REFUSED', code, details)
}

/** Makes the status of an error, with the reason as the service says it. */
export function statusOf(error: unknown): Pick<StatusObject, 'code' | 'details' | 'metadata'> {
  const [code, details] = codeOf(error)
  const reason = error instanceof CountersignError ? error.reason : 'INTERNAL'
  const metadata = new GrpcMetadata()
  metadata.set(REASON, reason)
  metadata.set(DETAILS, encodeDetails(code, details, reason))
  return { code, details, metadata }
}

function codeOf(error: unknown): [number, string] {
  if (error instanceof Unauthenticated) return [status.UNAUTHENTICATED, 'access token not accepted']
  if (error instanceof Forbidden) return [status.PERMISSION_DENIED, 'not allowed']
  if (error instanceof Unavailable) return [status.UNAVAILABLE, 'authentication is not available']
  return [status.INTERNAL, 'authentication is not available']
}

/** The reason of a status: of its trailer, or of its details for a service before that trailer. */
function reasonOf({ metadata }: CallStatus): string | undefined {
  const details = metadata?.get(DETAILS)[0]
  const said = metadata?.get(REASON)[0] || (Buffer.isBuffer(details) ? reasonIn(details) : undefined)
  // It is written into headers of HTTP.
  return typeof said === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(said) ? said : undefined
}

function reasonIn(details: Buffer): string | undefined {
  for (const any of fields(details, 3)) {
    if (fields(any, 1)[0]?.toString() !== ERROR_INFO) continue
    const info = fields(any, 2)[0] ?? Buffer.of()
    if (fields(info, 2)[0]?.toString() === DOMAIN) return fields(info, 1)[0]?.toString()
  }
  return undefined
}

/** google.rpc.Status with google.rpc.ErrorInfo, in the encoding of Protocol Buffers. */
function encodeDetails(code: number, message: string, reason: string): Buffer {
  const info = Buffer.concat([field(1, reason), field(2, DOMAIN)])
  const any = Buffer.concat([field(1, ERROR_INFO), field(2, info)])
  return Buffer.concat([Buffer.of(1 << 3, code), field(2, message), field(3, any)])
}

function field(number: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string)
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7]
  return Buffer.concat([Buffer.of((number << 3) | 2, ...length), bytes])
}

/** The values of a field that has lengths, such as a text or a message. */
function fields(message: Buffer, wanted: number): Buffer[] {
  const found: Buffer[] = []
  let at = 0
  const varint = () => {
    let [value, shift] = [0, 1]
    for (;;) {
      const byte = message[at++] ?? 0
      value += (byte & 127) * shift
      if (byte < 128) return value
      shift *= 128
    }
  }
  while (at < message.length) {
    const tag = varint()
    const kind = tag & 7
    if (kind === 0) varint()
    else if (kind === 2) {
      const length = varint()
      if (tag >> 3 === wanted) found.push(message.subarray(at, at + length))
      at += length
    } else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4
    else return found
  }
  return found
}
