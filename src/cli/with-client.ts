import { ClientError, connect, type ShadowkeepClient, silenceTransportLog } from '../client/index.js';
import { OperationError } from './exit.js';

/** Runs an action with a client, and closes it whatever happens. */
export async function withClient<Result>(
  target: string,
  action: (client: ShadowkeepClient) => Promise<Result>,
): Promise<Result> {
  silenceTransportLog();
  const client = connect(target);
  try {
    return await action(client);
  } catch (error) {
    throw asUnreachable(target, error);
  } finally {
    client.close();
  }
}

/** Says which service could not be reached, in few words; other failures stay what they are. */
export function asUnreachable(target: string, error: unknown): unknown {
  // What gRPC says has a cause; the client's own words are of steps that were lost, not of the service.
  if (!(error instanceof ClientError) || error.code !== 'UNAVAILABLE' || error.cause === undefined) return error;
  const [, last = error.message] = /Last error: (?:Error: )?(.+?)\.? Resolution note/.exec(error.message) ?? [];
  // gRPC says "undefined" of a connection that a proxy has refused.
  const cause = `${last === 'undefined' ? 'no connection' : last}${proxyNote(process.env)}`;
  return new OperationError('UNAVAILABLE', `cannot reach the service at ${target}: ${cause}`);
}

/** The variables that gRPC takes a proxy from, the first that is set. */
const PROXY_VARIABLES = ['grpc_proxy', 'https_proxy', 'http_proxy'];

/** A service on this machine is not found through a proxy, and nobody remembers the variable. */
function proxyNote(environment: NodeJS.ProcessEnv): string {
  const variable = PROXY_VARIABLES.find((name) => environment[name]);
  if (variable === undefined) return '';
  return `; ${variable} is set, and gRPC goes through that proxy unless no_proxy names the host`;
}
