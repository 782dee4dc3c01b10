import { fileURLToPath } from 'node:url';
import { loadSync, type Options, type PackageDefinition } from '@grpc/proto-loader';
import type { OpenRunRequest__Output } from './gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsDefinition } from './gen/shadowkeep/v1/ShadowWeights.js';

/** The folder of the protos. It lies beside `src` and `dist`, so the same relative path is right in both. */
export const PROTO_DIR = fileURLToPath(new URL('../../proto', import.meta.url));

/**
 * Copies of the protos with short enum values ('BF16' for DTYPE_BF16), which scripts/build.mjs makes for JavaScript.
 */
const SHORT_PROTO_DIR = fileURLToPath(new URL('./gen/proto', import.meta.url));

/** Full name of the service, as the health service and reflection know it. */
export const SERVICE_NAME = 'shadowkeep.v1.ShadowWeights';

/** How messages look in JavaScript. scripts/build.mjs generates the types with the same options. */
export const PROTO_OPTIONS: Options = {
  longs: Number,
  enums: String,
  oneofs: true,
  defaults: true,
  arrays: true,
  keepCase: true,
  includeDirs: [PROTO_DIR],
};

export const PROTO = 'shadowkeep/v1/shadow_weights.proto';

/** The protos of the messages in `grpc-status-details-bin`. */
export const STATUS_PROTOS = ['google/rpc/status.proto', 'google/rpc/error_details.proto'];

/** All messages and services of the package shadowkeep.v1. */
export const packageDefinition: PackageDefinition = loadSync(PROTO, {
  ...PROTO_OPTIONS,
  includeDirs: [SHORT_PROTO_DIR],
});

/** The methods of ShadowWeights with their serializers. */
// The assertion holds because the generated type was made from the same file with the same options.
export const shadowWeightsDefinition = packageDefinition[SERVICE_NAME] as unknown as ShadowWeightsDefinition;

/** A request with every default filled in, as if it had come over the wire. Throws when it cannot be encoded. */
export function completeOpenRun(request: object): OpenRunRequest__Output {
  const { requestSerialize, requestDeserialize } = shadowWeightsDefinition.OpenRun;
  return requestDeserialize(requestSerialize(request));
}
