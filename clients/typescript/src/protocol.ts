import { fileURLToPath } from 'node:url'
import { type Client, type GrpcObject, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

/** The version of this package. */
export const VERSION = '0.1.0'

const directory = fileURLToPath(new URL('../protos', import.meta.url))
const loaded = loadSync(['countersign/v1/auth.proto', 'countersign/v1/user.proto'], {
  includeDirs: [directory],
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
})
const { v1 } = loadPackageDefinition(loaded)['countersign'] as { v1: Record<string, GrpcObject[string]> }

/** A client of `countersign.v1.AuthService`, as grpc-js makes it. */
export const AuthService = v1['AuthService'] as ServiceClientConstructor
/** A client of `countersign.v1.UserService`, as grpc-js makes it. */
export const UserService = v1['UserService'] as ServiceClientConstructor

export type { Client }
