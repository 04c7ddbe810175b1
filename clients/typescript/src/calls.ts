import type { ServiceError } from '@grpc/grpc-js'
import type { Endpoint } from './endpoints.js'
import { CLOSED, Unavailable } from './errors.js'
import { errorOf } from './status.js'

type Unary = (
  request: object,
  metadata: Endpoint['metadata'],
  options: { deadline: number },
  callback: (error: ServiceError | null, answer: unknown) => void,
) => { cancel(): void }

/** Makes one call, which takes so many milliseconds at most. Throws the error that its status stands for. */
export function unary<A>({ client, metadata }: Endpoint, name: string, request: object, within: number): Promise<A> {
  const methods = client as unknown as Record<string, Unary>
  return new Promise((resolve, reject) => {
    const call = methods[name]
    if (call === undefined) throw new TypeError(`no call ${name}`)
    const options = { deadline: Date.now() + within }
    try {
      call.call(client, request, metadata, options, (error, answer) => {
        if (error === null) resolve(answer as A)
        else reject(errorOf(error))
      })
    } catch {
      reject(new Unavailable(CLOSED))
    }
  })
}

/** Half of a pause to all of it: many clients do not come back at one moment. */
export function jittered(pause: number): number {
  return pause * (0.5 + Math.random() / 2)
}
