import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import { CountersignError, Forbidden, INTERNAL, TOKEN_MISSING, Unauthenticated, Unavailable } from './errors.js'
import { Guard, type GuardSettings } from './guard.js'
import { REASON, statusOf } from './status.js'
import type { Verifier } from './verifier.js'

/** A request as Node has it; Express keeps its whole URL. */
export type HttpRequest = (IncomingMessage | Http2ServerRequest) & { readonly originalUrl?: string }
export type HttpResponse = ServerResponse | Http2ServerResponse

/** A function that lets a request in, by `next`, or answers it. */
export type Middleware = (request: HttpRequest, response: HttpResponse, next: (error?: unknown) => void) => void

/**
 * Makes a middleware of Express, Connect and the like, also for single routes. It lets in requests with a token that is valid and
 * meets the demands. The others get 401, 403 or 503, and calls of gRPC a status with the reason.
 */
export function httpGuard(verifier: Verifier, settings: GuardSettings = {}): Middleware {
  const guard = new Guard(verifier, settings)
  return (request, response, next) => {
    const path = (request.originalUrl ?? request.url ?? '').split('?', 1)[0] ?? ''
    guard.admit(request, [path], authorizations(request)).then(
      () => next(),
      (error: unknown) => refuse(error, request, response),
    )
  }
}

/** All headers of that name: Node's own `headers` keep the first alone. */
export function authorizations(request: Pick<HttpRequest, 'rawHeaders' | 'headers'>): unknown[] {
  const { rawHeaders, headers } = request
  if (!Array.isArray(rawHeaders)) return headers.authorization === undefined ? [] : [headers.authorization]
  return rawHeaders.filter((_, place) => place % 2 === 1 && rawHeaders[place - 1]?.toLowerCase() === 'authorization')
}

/** The answer to a request that is not let in. */
export interface Answer {
  readonly status: number
  readonly headers: Record<string, string>
}

/** Makes the answer of an error. */
export function answerOf(error: CountersignError, contentType: string | undefined): Answer {
  if (contentType?.startsWith('application/grpc')) return grpcAnswer(error)
  const headers: Record<string, string> = { [REASON]: error.reason, 'content-length': '0' }
  if (error instanceof Unauthenticated) {
    const why = ` error="invalid_token", error_description="${error.reason}"`
    headers['www-authenticate'] = error.reason === TOKEN_MISSING ? 'Bearer' : `Bearer${why}`
    return { status: 401, headers }
  }
  if (error instanceof Forbidden) {
    headers['www-authenticate'] = `Bearer error="insufficient_scope", error_description="${error.reason}"`
    return { status: 403, headers }
  }
  if (error.isOutage) headers['retry-after'] = '1'
  return { status: 503, headers }
}

/** Makes an outage of a defect, and warns of it. */
export function known(error: unknown): CountersignError {
  if (error instanceof CountersignError) return error
  process.emitWarning(error instanceof Error ? error : 'the guard failed')
  return new Unavailable(INTERNAL)
}

/** An answer of trailers alone. */
function grpcAnswer(error: CountersignError): Answer {
  const { code, details, metadata } = statusOf(error)
  const info = metadata.get('grpc-status-details-bin')[0] as Buffer
  return {
    status: 200,
    headers: {
      'content-type': 'application/grpc',
      'grpc-status': String(code),
      'grpc-message': encodeURIComponent(details),
      'grpc-status-details-bin': info.toString('base64').replace(/=+$/, ''),
      [REASON]: error.reason,
    },
  }
}

/** Answers, whatever the error is: a `next` that is not that of a framework may not look at what it is given. */
function refuse(error: unknown, request: HttpRequest, response: HttpResponse): void {
  // Somebody else has answered meanwhile.
  if (response.headersSent) return
  const { status, headers } = answerOf(known(error), request.headers['content-type'])
  response.statusCode = status
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  response.end()
}
