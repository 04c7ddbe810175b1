// What becomes of requests with two credentials, in all that the guards can see.
import assert from 'node:assert/strict'
import { createServer } from 'node:http2'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { callerOf, fastifyGuard, grpcGuard, httpGuard } from '@countersign/client'
import fastify from 'fastify'

const closes = []
after(async () => {
  for (const close of closes) await close()
})

/** Lets everybody in, and says by which token. */
const verified = []
const verifier = { verify: async (token) => (verified.push(token), { userId: token }) }

/** A text of HPACK (RFC 7541 section 5.2), and a header that is no part of any table. */
const hpack = (text) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)])
const header = ([name, value]) => Buffer.concat([Buffer.from([0]), hpack(name), hpack(value)])

function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** Sends a request of HTTP/2 with these headers, letter by letter, and waits until it is answered. */
async function sent(port, ...headers) {
  const [data, named, settings] = [0, 1, 4]
  const fixed = [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':authority', 'x'],
    [':path', '/shop.Orders/List'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
  ]
  const block = Buffer.concat([...fixed, ...headers].map(header))
  const socket = connect(port, '127.0.0.1')
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  const message = frame(data, 1, 1, Buffer.from([0, 0, 0, 0, 1, 0x78]))
  socket.write(Buffer.concat([preface, frame(settings, 0, 0), frame(named, 4, 1, block), message]))
  let seen = Buffer.alloc(0)
  await new Promise((resolve, reject) => {
    socket.on('error', reject).on('close', resolve)
    socket.on('data', (bytes) => {
      seen = Buffer.concat([seen, bytes])
      for (let at = 0; at + 9 <= seen.length; at += 9 + seen.readUIntBE(at, 3)) {
        // Headers or data that end the stream.
        if (seen[at + 3] <= 1 && (seen[at + 4] & 1) === 1 && seen.length >= at + 9 + seen.readUIntBE(at, 3)) socket.end()
      }
    })
  })
}

const TWO = [
  ['authorization', 'Bearer first'],
  ['authorization', 'Bearer second'],
]

async function tokensOf(port, ...headers) {
  verified.length = 0
  await sent(port, ...headers)
  return [...verified]
}

test('two credentials over HTTP/2 are refused, and none is picked', async () => {
  const guard = httpGuard(verifier)
  const server = createServer((request, response) => guard(request, response, () => response.end(callerOf(request).userId)))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  closes.push(() => server.close())
  const app = fastify({ http2: true })
  app.register(fastifyGuard(verifier))
  app.addContentTypeParser('*', (request, payload, done) => done(null))
  app.post('/shop.Orders/List', async (request) => callerOf(request).userId)
  await app.listen({ host: '127.0.0.1', port: 0 })
  closes.push(() => app.close())
  for (const { port } of [server.address(), app.server.address()]) {
    assert.deepEqual(await tokensOf(port, TWO[0]), ['first'])
    assert.deepEqual(await tokensOf(port, ...TWO), [])
    assert.deepEqual(await tokensOf(port, ['authorization', 'Bearer first, Bearer second']), ['first, Bearer second'])
  }
})

test('of two headers of a call grpc-js sees the first alone, as README.md says', async () => {
  const server = new Server({ interceptors: [grpcGuard(verifier)] })
  const text = { serialize: (value) => Buffer.from(value), deserialize: String }
  const list = {
    path: '/shop.Orders/List',
    requestStream: false,
    responseStream: false,
    requestSerialize: text.serialize,
    requestDeserialize: text.deserialize,
    responseSerialize: text.serialize,
    responseDeserialize: text.deserialize,
  }
  server.addService({ list }, { list: (call, done) => done(null, callerOf(call).userId) })
  const port = await new Promise((resolve, reject) => {
    const done = (error, port) => (error ? reject(error) : resolve(port))
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), done)
  })
  closes.push(() => server.forceShutdown())
  assert.deepEqual(await tokensOf(port, TWO[0]), ['first'])
  assert.deepEqual(await tokensOf(port, ...TWO), ['first'])
})
