// A service of grpc-js that is protected by Countersign: `node grpc.mjs LISTEN COUNTERSIGN`.
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { callerOf, grpcGuard, Verifier } from '@countersign/client'

const [listen = '127.0.0.1:8000', countersign = 'http://127.0.0.1:50051'] = process.argv.slice(2)
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
const orders = { list, health: { ...list, path: '/grpc.health.v1.Health/Check' } }
const health = (call, done) => done(null, 'ok')

const verifier = new Verifier({ endpoints: [countersign], audience: 'internal' })
const guard = grpcGuard(verifier, { public: ['/grpc.health.v1.Health/Check'] })
const server = new Server({ interceptors: [guard] })
const listOrders = (call, done) => done(null, `orders of ${callerOf(call).userId}`)
server.addService(orders, { list: listOrders, health })
server.bindAsync(listen, ServerCredentials.createInsecure(), (error) => error && console.error(error))
