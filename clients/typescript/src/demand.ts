import type { Principal } from './core/claims.js'
import { Forbidden, ROLE_MISSING } from './errors.js'

/** The things that a request needs beside a valid token. */
export interface Demand {
  /** The token must be for this service, in place of the verifier's own audience. */
  readonly audience?: string | undefined
  /** The user must have all of these roles. Scopes of Countersign's tokens are the roles. */
  readonly roles?: readonly string[] | undefined
}

/** Passes if the principal has what is demanded. */
export function checkDemand(demand: Demand | undefined, principal: Principal): void {
  const has = (role: string) => principal.roles.includes(role)
  if (demand?.roles !== undefined && !demand.roles.every(has)) throw new Forbidden(ROLE_MISSING)
}
