export { averageMessage } from './average-message.js';
export { checkLayoutBytes, decodeOpenRun } from './decode-open-run.js';
export { OpeningBytes, requestDecoder } from './decode-request.js';
export { reflectedDefinition } from './descriptors.js';
export {
  averageStateMessages,
  movementMessage,
  retentionMessage,
  shadowTensorMessages,
  shadowTensorParts,
  snapshotsMessage,
  stepFields,
  tensorMessage,
  tensorMessages,
} from './to-proto.js';
export { checkAddition, validateAddAverage } from './validate-add-average.js';
export { validateBoxes, validateReadBoxes } from './validate-boxes.js';
export {
  type DecodedGetShadow,
  type GetShadow,
  selectNames,
  type VersionWish,
  validateGetShadow,
} from './validate-get-shadow.js';
export { type OpenRun, validateOpenRun, validatingOpenRun } from './validate-open-run.js';
export { validateGetRun, validateRunName, validateWatchRun } from './validate-run-name.js';
export { type DecodedUpdate, type UpdateMessage, validateUpdate, validateUpdateOpen } from './validate-update.js';
