export { PROTO_DIR, packageDefinition, SERVICE_NAME, shadowWeightsDefinition } from './definition.js';
export { decodeErrorDetails, type ErrorDetails, encodeErrorDetails } from './status-details.js';
