import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { service as healthService } from 'grpc-health-check';
import { reflectedDefinition } from '../messages/index.js';

/**
 * Lets grpcurl and the like see every service of the server, and what its errors carry: a detail whose type reflection does
 * not know is shown as raw bytes.
 */
export function addReflection(server: Server): void {
  // Any type of a file brings the whole file.
  const health = healthService['Check']!.requestType;
  new ReflectionService(reflectedDefinition(health)).addToServer(server);
}
