// A service of Fastify that is protected by Countersign: `node fastify.mjs LISTEN COUNTERSIGN`.
import fastify from 'fastify'
import { callerOf, fastifyGuard, Verifier } from '@countersign/client'

const [listen = '127.0.0.1:8000', countersign = 'http://127.0.0.1:50051'] = process.argv.slice(2)
const [host, port] = listen.split(':')

const verifier = new Verifier({ endpoints: [countersign], audience: 'internal' })
const app = fastify()
app.register(fastifyGuard(verifier, { public: ['/health'] }))
app.get('/health', async () => 'ok')
app.get('/orders', async (request) => `orders of ${callerOf(request).userId}`)
await app.listen({ host, port })
