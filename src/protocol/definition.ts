import { fileURLToPath } from 'node:url';
import { loadSync, type Options, type PackageDefinition } from '@grpc/proto-loader';
import type { OpenRunRequest__Output } from './gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsDefinition } from './gen/shadowkeep/v1/ShadowWeights.js';

/** The protos lie beside `src` and `dist` alike, so one relative path serves the checkout and the package. */
export const PROTO_DIR = fileURLToPath(new URL('../../proto', import.meta.url));

/** The protos with enum values as JavaScript has them, 'BF16' for DTYPE_BF16: scripts/build.mjs. */
const SHORT_PROTO_DIR = fileURLToPath(new URL('./gen/proto', import.meta.url));

/** Full name of the service, for the health service and reflection. */
export const SERVICE_NAME = 'shadowkeep.v1.ShadowWeights';

/** How messages look in JavaScript. The generated types assume the same options: scripts/build.mjs. */
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

/** What `grpc-status-details-bin` holds. */
export const STATUS_PROTOS = ['google/rpc/status.proto', 'google/rpc/error_details.proto'];

/** Every message and service of the package. */
export const packageDefinition: PackageDefinition = loadSync(PROTO, {
  ...PROTO_OPTIONS,
  includeDirs: [SHORT_PROTO_DIR],
});

/** Methods of ShadowWeights with their serializers. */
// The loader types every service alike; the generated type was made from the same file with the same options.
export const shadowWeightsDefinition = packageDefinition[SERVICE_NAME] as unknown as ShadowWeightsDefinition;

/** A request with every default filled in, as if it had come over the wire; throws when it cannot be encoded. */
export function completeOpenRun(request: object): OpenRunRequest__Output {
  const { requestSerialize, requestDeserialize } = shadowWeightsDefinition.OpenRun;
  return requestDeserialize(requestSerialize(request));
}
