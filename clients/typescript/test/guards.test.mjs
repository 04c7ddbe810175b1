// Guards where something goes wrong, or is spelled in another way. Nobody is let in by mistake.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, test } from 'node:test'
import { callerOf, fastifyGuard, Forbidden, httpGuard, Unavailable } from '@countersign/client'
import fastify from 'fastify'
import { asked, until } from './support.mjs'

const closes = []
after(async () => {
  for (const close of closes) await close()
})

async function listening(handler) {
  const server = createServer(handler)
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  closes.push(() => server.close())
  return `http://127.0.0.1:${server.address().port}`
}

function started(app) {
  closes.push(() => app.close())
  return app.listen({ host: '127.0.0.1', port: 0 })
}

test('a defect lets nobody in, whatever is done with what next is given', async () => {
  const broken = { verify: async () => Promise.reject(new TypeError('a defect')) }
  const warned = []
  const warn = (warning) => warned.push(warning.message)
  process.on('warning', warn)
  const guard = httpGuard(broken)
  const url = await listening((request, response) => guard(request, response, () => response.end('let in')))
  const app = fastify()
  app.register(fastifyGuard(broken))
  app.get('/orders', async () => 'let in')
  for (const at of [url, await started(app)]) {
    const { status, text, reason } = await asked(at, 'x')
    assert.deepEqual([status, text, reason], [503, '', 'INTERNAL'])
  }
  await until('it warns', () => warned.filter((it) => it === 'a defect').length === 2)
  process.off('warning', warn)
})

test('a request that somebody else has answered meanwhile ends nothing', async () => {
  let refuse
  const late = { verify: () => new Promise((_, reject) => (refuse = () => reject(new Unavailable('SILENT')))) }
  const guard = httpGuard(late)
  const url = await listening((request, response) => {
    guard(request, response, () => {})
    response.end('too slow')
    refuse()
  })
  for (let n = 0; n < 3; n += 1) assert.equal((await asked(url, 'x')).text, 'too slow')
})

/** Lets everybody in who needs no role. */
const lenient = {
  async verify(token, { roles = [] }) {
    if (roles.length > 0) throw new Forbidden('ROLE_MISSING')
    return { userId: token }
  },
}

test('a demand of a route of Fastify holds for all spellings of its path', async () => {
  const app = fastify({ routerOptions: { ignoreTrailingSlash: true, caseSensitive: false, ignoreDuplicateSlashes: true } })
  app.register(fastifyGuard(lenient, { public: ['/health'], at: { '/admin/:id': { roles: ['nobody'] } } }))
  app.get('/admin/:id', async () => 'not reached')
  app.get('/orders', async (request) => callerOf(request).userId)
  const url = await started(app)
  for (const path of ['/admin/7', '/admin/7/', '/ADMIN/7', '//admin//7', '/%61dmin/7', '/admin/7?x=/health']) {
    assert.equal((await asked(url, 'x', path)).status, 403, path)
  }
  for (const path of ['/orders', '/orders/', '/ORDERS']) assert.equal((await asked(url, 'x', path)).text, 'x', path)
  for (const path of ['/nothing', '/health/', '/Health', '//health']) assert.equal((await asked(url, undefined, path)).status, 401)
})
