// What has to compile: the guards where Express, Fastify and grpc-js take them.
import { createServer } from 'node:http'
import { Client, credentials, Server } from '@grpc/grpc-js'
import express from 'express'
import fastify from 'fastify'
import {
  callerOf,
  Countersign,
  fastifyGuard,
  fastifyHook,
  grpcGuard,
  httpGuard,
  type Principal,
  Session,
  sessionInterceptor,
  Verifier,
} from '@countersign/client'

const verifier = new Verifier({
  endpoints: ['http://127.0.0.1:9'],
  fallback: 'ask',
  onEvent: (event) => event.kind === 'lost',
})
const web = express()
web.use(httpGuard(verifier, { public: ['/health'], at: { '/admin': { roles: ['admin'] } } }))
web.get('/admin', httpGuard(verifier, { roles: ['admin'] }), (request, response) => {
  response.send(callerOf(request).userId)
})

const app = fastify()
await app.register(fastifyGuard(verifier))
app.get('/', { onRequest: fastifyHook(verifier, { roles: ['admin'] }) }, async (request) => callerOf(request).roles)

createServer((request, response) => httpGuard(verifier)(request, response, () => response.end()))
new Server({ interceptors: [grpcGuard(verifier)] })

const session = await Session.login(new Countersign({ endpoints: [] }), { username: 'u', password: 'p' })
new Client('127.0.0.1:9', credentials.createInsecure(), { interceptors: [sessionInterceptor(session)] })
const principal: Principal = await verifier.verify('token', { audience: 'orders', roles: ['clerk'] })
export const name: string | undefined = principal.username
