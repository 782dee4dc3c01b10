import { connect, type ShadowkeepClient, silenceTransportLog } from '../client/index.js';

/** Runs an action with a client, and closes it whatever happens. A person is told at once that there is no service. */
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
