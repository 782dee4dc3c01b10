import { ClientError, connect, type ShadowkeepClient } from '../client/index.js';
import { OperationError } from './exit.js';

/** Runs an action with a client, and closes it whatever happens. */
export async function withClient<Result>(
  target: string,
  action: (client: ShadowkeepClient) => Promise<Result>,
): Promise<Result> {
  const client = connect(target);
  try {
    return await action(client);
  } catch (error) {
    throw asUnreachable(target, error);
  } finally {
    client.close();
  }
}

/** Says where nobody answered; other failures stay what they are. */
export function asUnreachable(target: string, error: unknown): unknown {
  if (!(error instanceof ClientError) || error.code !== 'UNAVAILABLE') return error;
  return new OperationError(`no service answers at ${target}: ${error.message} (UNAVAILABLE)`);
}
