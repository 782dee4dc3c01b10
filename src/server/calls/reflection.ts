import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { service as healthService } from 'grpc-health-check';
import { reflectedDefinition } from '../messages/index.js';

/**
 * Lets grpcurl and the like see every service of the server, and the types of its error details: a detail whose type
 * reflection does not know would be shown as raw bytes.
 */
export function addReflection(server: Server): void {
  // One type of the health service stands for its whole proto file.
  const health = healthService['Check']!.requestType;
  new ReflectionService(reflectedDefinition(health)).addToServer(server);
}
