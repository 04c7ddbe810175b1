import {
  InterceptingCall,
  type Interceptor,
  type Metadata,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerListener,
} from '@grpc/grpc-js'
import { Guard, type GuardSettings } from './guard.js'
import type { Session } from './session.js'
import { statusOf } from './status.js'
import type { Verifier } from './verifier.js'

/**
 * Makes an interceptor for `new Server({ interceptors: [..] })` of grpc-js. It lets in calls with a token that is valid and meets
 * the demands; paths are full, such as `/grpc.health.v1.Health/Check`. Of several authorization headers Node keeps the first.
 */
export function grpcGuard(verifier: Verifier, settings: GuardSettings = {}): ServerInterceptor {
  const guard = new Guard(verifier, settings)
  return (method, call) => {
    const listener: ServerListener = {
      onReceiveMetadata(metadata, next) {
        const pass = () => next(metadata)
        const refuse = (error: unknown) => call.sendStatus(statusOf(error))
        guard.admit(metadata, [method.path], metadata.get('authorization')).then(pass, refuse)
      },
      onReceiveMessage: (message, next) => next(message),
      onReceiveHalfClose: (next) => next(),
      onCancel() {},
    }
    return new ServerInterceptingCall(call, { start: (next) => next(listener) })
  }
}

/** Makes an interceptor for clients of grpc-js that attaches the access token of a session to their calls. */
export function sessionInterceptor(session: Session): Interceptor {
  return (options, nextCall) => {
    const inner = nextCall(options)
    return new InterceptingCall(inner, {
      start(metadata: Metadata, listener, next) {
        session.accessToken().then(
          (token) => {
            metadata.set('authorization', `Bearer ${token}`)
            next(metadata, listener)
          },
          (error: unknown) => {
            const { code, details } = statusOf(error)
            listener.onReceiveStatus(statusOf(error))
            inner.cancelWithStatus(code, details)
          },
        )
      },
    })
  }
}
