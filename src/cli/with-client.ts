import { connect, type ShadowkeepClient, silenceTransportLog } from '../client/index.js';

/**
 * Runs an action with a client, and closes the client whatever happens. The client does not wait for a service that is
 * not up, so that a person hears of it at once.
 */
export async function withClient<Result>(
  target: string,
  action: (client: ShadowkeepClient) => Promise<Result>,
): Promise<Result> {
  silenceTransportLog();
  const client = connect(target, { serviceWaitMs: 0 });
  try {
    return await action(client);
  } finally {
    client.close();
  }
}
