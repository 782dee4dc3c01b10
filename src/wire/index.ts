export { averageMessage } from './average-message.js';
export { type ByteChunk, type ByteSpace, ChunkCutter, ChunkScatter, layOut, type TensorPiece } from './chunking.js';
export { checkLayoutBytes, decodeOpenRun } from './decode-open-run.js';
export { OpeningBytes, requestDecoder } from './decode-request.js';
export {
  completeOpenRun,
  PROTO_DIR,
  packageDefinition,
  SERVICE_NAME,
  shadowWeightsDefinition,
} from './definition.js';
export { reflectedDefinition } from './descriptors.js';
export { type ChunkFrame, frameShadowChunk } from './frames.js';
export type { Ack__Output } from './gen/shadowkeep/v1/Ack.js';
export type { AddAverageRequest__Output } from './gen/shadowkeep/v1/AddAverageRequest.js';
export type { AddAverageResponse, AddAverageResponse__Output } from './gen/shadowkeep/v1/AddAverageResponse.js';
export type { Average } from './gen/shadowkeep/v1/Average.js';
export type { AverageState__Output } from './gen/shadowkeep/v1/AverageState.js';
export type { Box } from './gen/shadowkeep/v1/Box.js';
export type { Commit } from './gen/shadowkeep/v1/Commit.js';
export type { DeleteRunRequest__Output } from './gen/shadowkeep/v1/DeleteRunRequest.js';
export type { DeleteRunResponse, DeleteRunResponse__Output } from './gen/shadowkeep/v1/DeleteRunResponse.js';
export type { GetRunRequest__Output } from './gen/shadowkeep/v1/GetRunRequest.js';
export type { GetShadowRequest, GetShadowRequest__Output } from './gen/shadowkeep/v1/GetShadowRequest.js';
export type { GetShadowResponse, GetShadowResponse__Output } from './gen/shadowkeep/v1/GetShadowResponse.js';
export type { ListRunsRequest__Output } from './gen/shadowkeep/v1/ListRunsRequest.js';
export type { ListRunsResponse, ListRunsResponse__Output } from './gen/shadowkeep/v1/ListRunsResponse.js';
export type { Memory__Output } from './gen/shadowkeep/v1/Memory.js';
export type { Movement__Output } from './gen/shadowkeep/v1/Movement.js';
export type { OpenRunRequest, OpenRunRequest__Output } from './gen/shadowkeep/v1/OpenRunRequest.js';
export type { OpenRunResponse, OpenRunResponse__Output } from './gen/shadowkeep/v1/OpenRunResponse.js';
export type { RemoveAverageRequest__Output } from './gen/shadowkeep/v1/RemoveAverageRequest.js';
export type { RemoveAverageResponse } from './gen/shadowkeep/v1/RemoveAverageResponse.js';
export type { Run, Run__Output } from './gen/shadowkeep/v1/Run.js';
export type { RunEvent, RunEvent__Output } from './gen/shadowkeep/v1/RunEvent.js';
export type { ShadowChunk__Output } from './gen/shadowkeep/v1/ShadowChunk.js';
export type { ShadowHeader__Output } from './gen/shadowkeep/v1/ShadowHeader.js';
export type { ShadowWeightsClient } from './gen/shadowkeep/v1/ShadowWeights.js';
export type { Snapshots } from './gen/shadowkeep/v1/Snapshots.js';
export type { Tensor, Tensor__Output } from './gen/shadowkeep/v1/Tensor.js';
export type { UpdateOpen } from './gen/shadowkeep/v1/UpdateOpen.js';
export type { UpdateOpened, UpdateOpened__Output } from './gen/shadowkeep/v1/UpdateOpened.js';
export type { UpdateRequest, UpdateRequest__Output } from './gen/shadowkeep/v1/UpdateRequest.js';
export type { UpdateResponse, UpdateResponse__Output } from './gen/shadowkeep/v1/UpdateResponse.js';
export type { WatchRunRequest__Output } from './gen/shadowkeep/v1/WatchRunRequest.js';
export type { WriterState, WriterState__Output } from './gen/shadowkeep/v1/WriterState.js';
export { type EntryPart, partsOf, tensorEntryBytes } from './layout-parts.js';
export { decodeErrorDetails, type ErrorDetails, encodeErrorDetails } from './status-details.js';
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
export { type AddAverage, checkAddition, validateAddAverage } from './validate-add-average.js';
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
export {
  type DecodedUpdate,
  type UpdateMessage,
  type UpdateTarget,
  validateUpdate,
  validateUpdateOpen,
} from './validate-update.js';
