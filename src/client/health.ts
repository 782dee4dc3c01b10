import { type Client, credentials, makeClientConstructor, type ServiceDefinition } from '@grpc/grpc-js';
import { service } from 'grpc-health-check';
import { wayOptions } from './channel.js';
import { toFailure } from './errors.js';

/** An answer of the standard service `grpc.health.v1.Health` about the server. */
export type ServingStatus = 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

interface HealthClient {
  Check(
    request: { service: string },
    options: { deadline: number },
    callback: (error: Error | null, response?: { status: ServingStatus }) => void,
  ): void;
  close(): void;
}

const Health = makeClientConstructor(service as ServiceDefinition, 'grpc.health.v1.Health');

/**
 * Asks the server at HOST:PORT how it is. Rejects with a `ClientError` when nobody answers within `timeoutMs`.
 */
export async function checkHealth(target: string, options: { timeoutMs: number }): Promise<ServingStatus> {
  const stub: Client = new Health(
    target,
    credentials.createInsecure(),
    wayOptions(target, () => stub),
  );
  const client = stub as unknown as HealthClient;
  try {
    return await new Promise((resolve, reject) => {
      client.Check({ service: '' }, { deadline: Date.now() + options.timeoutMs }, (error, response) => {
        if (error || response === undefined) reject(toFailure(error));
        else resolve(response.status);
      });
    });
  } finally {
    client.close();
  }
}
