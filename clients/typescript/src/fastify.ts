import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Guard, type GuardSettings } from './guard.js'
import { answerOf, authorizations, known } from './http.js'
import type { Verifier } from './verifier.js'

/** The parts of Fastify's requests and replies that are used here. */
interface FastifyRequestLike {
  readonly raw: Pick<IncomingMessage, 'url' | 'rawHeaders' | 'headers'>
  readonly headers: IncomingHttpHeaders
  readonly routeOptions?: { readonly url?: string | undefined } | undefined
}

interface FastifyReplyLike {
  code(status: number): this
  headers(values: Record<string, string>): this
  send(payload?: unknown): unknown
}

/** A hook for `onRequest`. */
export type FastifyHook = (request: FastifyRequestLike, reply: FastifyReplyLike) => Promise<unknown>

/** A plugin that guards the instance that it is registered in, with all within it. */
export type FastifyPlugin = (instance: any, options: unknown, done: (error?: Error) => void) => void

/** Makes a plugin of Fastify that lets in requests with a token that is valid and meets the demands. */
export function fastifyGuard(verifier: Verifier, settings: GuardSettings = {}): FastifyPlugin {
  const hook = fastifyHook(verifier, settings)
  const plugin: FastifyPlugin = (instance: { addHook(name: string, hook: FastifyHook): unknown }, _options, done) => {
    instance.addHook('onRequest', hook)
    done()
  }
  // It is for whoever registers it, not for a scope of its own.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true, [Symbol.for('fastify.display-name')]: 'countersign' })
}

/** Makes a hook of Fastify for single routes: `{ onRequest: fastifyHook(verifier, { roles: ['clerk'] }) }`. */
export function fastifyHook(verifier: Verifier, settings: GuardSettings = {}): FastifyHook {
  const guard = new Guard(verifier, settings)
  return async (request, reply) => {
    try {
      const path = request.raw.url?.split('?', 1)[0] ?? ''
      // The route that Fastify has chosen: there are other spellings of its path.
      const names = [path, request.routeOptions?.url ?? path]
      await guard.admit(request.raw, names, authorizations(request.raw as never))
      return undefined
    } catch (error) {
      const { status, headers } = answerOf(known(error), request.headers['content-type'])
      return reply.code(status).headers(headers).send()
    }
  }
}
