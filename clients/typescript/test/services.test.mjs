// Services that the guards protect, and the examples, over real sockets.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { after, before, test } from 'node:test'
import { Client, credentials as channel, Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js'
import {
  callerOf,
  Countersign,
  fastifyGuard,
  fastifyHook,
  grpcGuard,
  httpGuard,
  Session,
  sessionInterceptor,
} from '@countersign/client'
import { Verifier } from '@countersign/client'
import express from 'express'
import fastify from 'fastify'
import { asked, Job, until } from './support.mjs'

const job = new Job()
let dev, client, verifier, away, credentials
const closes = []

before(async () => {
  dev = await job.dev('dev')
  client = new Countersign({ endpoints: [dev.url] })
  verifier = new Verifier({ endpoints: [dev.url], audience: 'internal' })
  // Nobody listens there.
  away = new Verifier({ endpoints: ['http://127.0.0.1:9'] })
  credentials = { username: dev.facts.username, password: dev.facts.password }
  await verifier.ready()
})
after(async () => {
  for (const close of closes) await close()
  for (const it of [client, verifier, away]) it.close()
  await job.end()
})

const login = async () => (await client.login(credentials)).tokens

async function listening(handler) {
  const server = createServer(handler)
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  closes.push(() => server.close())
  return `http://127.0.0.1:${server.address().port}`
}

/** What an answer is to a request with these lines of headers. */
function raw(url, lines) {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connectSocket(Number(port), hostname)
    let text = ''
    socket
      .on('data', (data) => (text += data))
      .on('close', () => resolve(text))
      .on('error', reject)
    socket.write(['GET /orders HTTP/1.1', 'host: x', 'connection: close', ...lines, '', ''].join('\r\n'))
  })
}

/** What every guard of HTTP does. */
async function isGuarded(url) {
  const { accessToken, refreshToken } = await login()
  const { userId } = verifier.verifyNow(accessToken)
  assert.equal((await asked(url, undefined, '/health')).text, 'ok')
  assert.equal((await asked(url, undefined, '/health?x=1')).status, 200)
  assert.equal((await asked(url, undefined, '/health/')).status, 401, 'another spelling')
  assert.deepEqual(await asked(url), { status: 401, text: '', reason: 'TOKEN_MISSING', challenge: 'Bearer', retry: null })
  assert.deepEqual(await asked(url, accessToken), { status: 200, text: userId, reason: null, challenge: null, retry: null })
  const forbidden = await asked(url, accessToken, '/admin')
  assert.deepEqual([forbidden.status, forbidden.reason], [403, 'ROLE_MISSING'])
  assert.match(forbidden.challenge, /^Bearer error="insufficient_scope"/)
  const header = `authorization: Bearer ${accessToken}`
  assert.match(await raw(url, [header]), /^HTTP\/1.1 200/)
  assert.match(await raw(url, [header, header.replace('authorization', 'Authorization')]), /^HTTP\/1.1 401/)
  assert.match(await raw(url, [`${header}é`]), /^HTTP\/1.1 401/)
  await client.revoke({ refreshToken })
  const refused = await until(
    'it is refused',
    async () => {
      const answer = await asked(url, accessToken)
      return answer.status === 401 ? answer : undefined
    },
    2,
  )
  assert.equal(refused.challenge, 'Bearer error="invalid_token", error_description="TOKEN_REVOKED"')
  assert.equal((await asked(url, accessToken, '/away')).status, 503)
  const outage = await asked(url, accessToken, '/away')
  assert.deepEqual([outage.status, outage.retry, outage.challenge], [503, '1', null])
}

const settings = { public: ['/health', '/away'], at: { '/admin': { roles: ['nobody'] } } }

test('Express is guarded', async () => {
  const app = express()
  app.use(httpGuard(verifier, settings))
  app.get('/health', (request, response) => response.send('ok'))
  app.get('/away', httpGuard(away), (request, response) => response.send('not reached'))
  app.get('/orders', (request, response) => response.send(callerOf(request).userId))
  app.get('/admin', (request, response) => response.send('not reached'))
  await isGuarded(await listening(app))
})

test('a server of Node alone is guarded', async () => {
  const [guard, outage] = [httpGuard(verifier, settings), httpGuard(away)]
  const handler = (request, response) => {
    const [path] = request.url.split('?')
    const answer = () => response.end(path === '/health' ? 'ok' : callerOf(request).userId)
    guard(request, response, () => (path === '/away' ? outage(request, response, answer) : answer()))
  }
  await isGuarded(await listening(handler))
})

test('Fastify is guarded', async () => {
  const app = fastify()
  app.register(fastifyGuard(verifier, settings))
  app.register(async (scope) => {
    scope.get('/health', async () => 'ok')
    scope.get('/away', { onRequest: fastifyHook(away) }, async () => 'not reached')
    scope.get('/orders', async (request) => callerOf(request).userId)
    scope.get('/admin', async () => 'not reached')
  })
  closes.push(() => app.close())
  await isGuarded(await app.listen({ host: '127.0.0.1', port: 0 }))
})

const text = { serialize: (value) => Buffer.from(value), deserialize: String }
const method = (path) => ({
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: text.serialize,
  requestDeserialize: text.deserialize,
  responseSerialize: text.serialize,
  responseDeserialize: text.deserialize,
})

/** A call of gRPC: the answer, or the error. */
function called(address, path, { token, interceptors = [] } = {}) {
  const caller = new Client(address, channel.createInsecure(), { interceptors })
  const metadata = new Metadata()
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`)
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 5000 }
    caller.makeUnaryRequest(path, text.serialize, text.deserialize, 'x', metadata, options, (error, answer) => {
      caller.close()
      resolve(error ?? answer)
    })
  })
}

async function bound(server) {
  const port = await new Promise((resolve, reject) => {
    const done = (error, port) => (error ? reject(error) : resolve(port))
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), done)
  })
  closes.push(() => server.forceShutdown())
  return `127.0.0.1:${port}`
}

test('grpc-js is guarded, and a session attaches its token to calls', async () => {
  const demands = { public: ['/shop.Orders/Health'], at: { '/shop.Orders/Admin': { roles: ['nobody'] } } }
  const guarded = (guard) => {
    const server = new Server({ interceptors: [guard] })
    const who = (call, done) => done(null, callerOf(call).userId)
    const methods = Object.fromEntries(['List', 'Admin', 'Health'].map((name) => [name, method(`/shop.Orders/${name}`)]))
    server.addService(methods, { List: who, Admin: who, Health: (call, done) => done(null, 'ok') })
    return bound(server)
  }
  const address = await guarded(grpcGuard(verifier, demands))
  const session = await Session.login(client, credentials)
  const token = await session.accessToken()
  const { userId } = verifier.verifyNow(token)
  assert.equal(await called(address, '/shop.Orders/Health'), 'ok')
  assert.equal(await called(address, '/shop.Orders/List', { token }), userId)
  assert.equal(await called(address, '/shop.Orders/List', { interceptors: [sessionInterceptor(session)] }), userId)
  const refusals = [
    [await called(address, '/shop.Orders/List'), status.UNAUTHENTICATED, 'TOKEN_MISSING'],
    [await called(address, '/shop.Orders/Admin', { token }), status.PERMISSION_DENIED, 'ROLE_MISSING'],
    [await called(await guarded(grpcGuard(away)), '/shop.Orders/List', { token }), status.UNAVAILABLE, /./],
  ]
  for (const [error, code, reason] of refusals) {
    assert.equal(error.code, code)
    assert.match(error.metadata.get('countersign-reason')[0], new RegExp(reason))
    assert.ok(error.metadata.get('grpc-status-details-bin')[0].includes('type.googleapis.com/google.rpc.ErrorInfo'))
  }
  await session.logout()
  const refused = async () => (await called(address, '/shop.Orders/List', { token })).code === status.UNAUTHENTICATED
  await until('it is refused', refused, 2)
  const ended = Session.of(client, { ...session.tokens(), accessToken: '' })
  const error = await called(address, '/shop.Orders/List', { interceptors: [sessionInterceptor(ended)] })
  assert.deepEqual(
    [error.code, error.metadata.get('countersign-reason')[0]],
    [status.UNAUTHENTICATED, 'REFRESH_TOKEN_INVALID'],
  )
})

test('calls of gRPC are refused by a status over HTTP/2 too', async () => {
  const guard = httpGuard(verifier, { audience: 'wages' })
  const server = createHttp2Server((request, response) => guard(request, response, () => response.end()))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  closes.push(() => server.close())
  const { accessToken } = await login()
  for (const [token, reason] of [
    [undefined, 'TOKEN_MISSING'],
    [accessToken, 'TOKEN_AUDIENCE_MISMATCH'],
  ]) {
    const error = await called(`127.0.0.1:${server.address().port}`, '/shop.Orders/List', { token })
    assert.deepEqual([error.code, error.details], [status.UNAUTHENTICATED, 'access token not accepted'])
    assert.deepEqual(error.metadata.get('countersign-reason'), [reason])
    assert.ok(error.metadata.get('grpc-status-details-bin')[0].includes(reason))
  }
})

test('a handler that nobody guards gets no caller', async () => {
  const app = express()
  app.set('env', 'test')
  app.get('/orders', (request, response) => response.send(callerOf(request).userId))
  assert.equal((await asked(await listening(app))).status, 401)
})

/** A free port, as far as anybody knows. */
async function freePort() {
  const url = new URL(await listening(() => {}))
  closes.pop()()
  return url.port
}

const example = (name) => new URL(`../examples/${name}.mjs`, import.meta.url).pathname

for (const name of ['express', 'fastify']) {
  test(`the example of ${name} does what it says`, async () => {
    const listen = `127.0.0.1:${await freePort()}`
    job.node(example(name), listen, dev.url)
    const url = `http://${listen}`
    await until('it listens', () =>
      asked(url, undefined, '/health').then(
        ({ text }) => text === 'ok',
        () => false,
      ),
    )
    const { accessToken, refreshToken } = await login()
    assert.equal((await asked(url)).status, 401)
    const passes = async () => {
      const { status, text } = await asked(url, accessToken)
      assert.ok([200, 503].includes(status))
      return status === 200 && text
    }
    assert.match(await until('a token passes', passes), /^orders of [0-9a-f-]{36}$/)
    await client.revoke({ refreshToken })
    await until('it is refused', async () => (await asked(url, accessToken)).status === 401, 1)
  })
}

test('the example of grpc-js does what it says', async () => {
  const address = `127.0.0.1:${await freePort()}`
  job.node(example('grpc'), address, dev.url)
  await until('it listens', async () => (await called(address, '/grpc.health.v1.Health/Check')) === 'ok')
  const { accessToken, refreshToken } = await login()
  const list = (token) => called(address, '/shop.Orders/List', { token })
  assert.equal((await list()).code, status.UNAUTHENTICATED)
  const passes = async () => String(await list(accessToken)).startsWith('orders of ')
  await until('a token passes', passes)
  await client.revoke({ refreshToken })
  await until('it is refused', async () => (await list(accessToken)).code === status.UNAUTHENTICATED, 1)
})
