// A service of Express that is protected by Countersign: `node express.mjs LISTEN COUNTERSIGN`.
import express from 'express'
import { callerOf, httpGuard, Verifier } from '@countersign/client'

const [listen = '127.0.0.1:8000', countersign = 'http://127.0.0.1:50051'] = process.argv.slice(2)
const [host, port] = listen.split(':')

const verifier = new Verifier({ endpoints: [countersign], audience: 'internal' })
const app = express()
app.use(httpGuard(verifier, { public: ['/health'] }))
app.get('/health', (request, response) => response.send('ok'))
app.get('/orders', (request, response) => response.send(`orders of ${callerOf(request).userId}`))
app.listen(port, host)
