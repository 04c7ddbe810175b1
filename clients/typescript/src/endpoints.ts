import { type ChannelOptions, type Client, credentials, Metadata } from '@grpc/grpc-js'
import { Invalid } from './errors.js'
import { AuthService, VERSION } from './protocol.js'

/** Settings of TLS; each in PEM. */
export interface TlsSettings {
  /** The certificates that are trusted; those of Node unless set. */
  readonly ca?: Buffer | string | undefined
  /** The certificate of this service, and its key, where Countersign asks for one. */
  readonly cert?: Buffer | string | undefined
  readonly key?: Buffer | string | undefined
  /** The name in the certificate of Countersign, if that is not the one of the URL. */
  readonly serverName?: string | undefined
}

/** The addresses of the service, and how they are reached. */
export interface EndpointSettings {
  /** The URLs of all replicas, such as `http://auth-1:50051`. */
  readonly endpoints: readonly string[]
  readonly tls?: TlsSettings | undefined
  /** The service token by which this service is known to Countersign. */
  readonly serviceToken?: string | undefined
}

/** A replica. */
export interface Endpoint {
  readonly name: string
  readonly client: Client
  /** The metadata of each call. */
  readonly metadata: Metadata
}

const OPTIONS: ChannelOptions = {
  'grpc.primary_user_agent': `countersign-client-typescript/${VERSION}`,
  // A connection over which nothing comes for so long is asked whether it lives.
  'grpc.keepalive_time_ms': 2000,
  'grpc.keepalive_timeout_ms': 2000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,
}

/** Connections, which are made when they are used. Throws `Invalid` for settings that cannot be used. */
export function connect({ endpoints, tls, serviceToken }: EndpointSettings): Endpoint[] {
  if (!Array.isArray(endpoints) || endpoints.length === 0) throw new Invalid('no address of Countersign is given')
  if (serviceToken !== undefined && !/^[\x21-\x7e]+$/.test(serviceToken)) {
    throw new Invalid('the service token cannot be sent')
  }
  const metadata = new Metadata()
  if (serviceToken !== undefined) metadata.set('authorization', `Bearer ${serviceToken}`)
  return (endpoints as string[]).map((name) => {
    const { target, secure } = parse(name)
    if (tls !== undefined && !secure) throw new Invalid(`${name} has settings of TLS, and begins with http://`)
    return {
      name,
      metadata,
      client: new AuthService(target, secure ? secured(tls) : credentials.createInsecure(), options(tls)),
    }
  })
}

function parse(name: string): { target: string; secure: boolean } {
  const url = URL.canParse(name) ? new URL(name) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw new Invalid(`${name} is no address of Countersign: it begins with http:// or https://`)
  }
  if (url.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw new Invalid(`${name} is no address of Countersign: it has a scheme, a host and a port alone`)
  }
  const secure = url.protocol === 'https:'
  return { target: `dns:${url.hostname}:${url.port || (secure ? 443 : 80)}`, secure }
}

function secured(tls: TlsSettings = {}): ReturnType<typeof credentials.createSsl> {
  const bytes = (pem: Buffer | string | undefined) => (pem === undefined ? null : Buffer.from(pem as string))
  try {
    return credentials.createSsl(bytes(tls.ca), bytes(tls.key), bytes(tls.cert))
  } catch (error) {
    throw new Invalid(`TLS: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function options(tls: TlsSettings | undefined): ChannelOptions {
  if (tls?.serverName === undefined) return OPTIONS
  return { ...OPTIONS, 'grpc.ssl_target_name_override': tls.serverName, 'grpc.default_authority': tls.serverName }
}
