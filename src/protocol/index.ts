export { checkMessage, SINGLE_REQUESTS } from './check-message.js';
export { frameShadowChunk, frameUpdateChunk } from './chunk-frames.js';
export { type ByteChunk, ChunkCutter, ChunkScatter, layOut } from './chunking.js';
export {
  completeOpenRun,
  PROTO,
  PROTO_OPTIONS,
  packageDefinition,
  SERVICE_NAME,
  STATUS_PROTOS,
  shadowWeightsDefinition,
} from './definition.js';
export type { Ack__Output } from './gen/shadowkeep/v1/Ack.js';
export type { AddAverageRequest__Output } from './gen/shadowkeep/v1/AddAverageRequest.js';
export type { AddAverageResponse, AddAverageResponse__Output } from './gen/shadowkeep/v1/AddAverageResponse.js';
export type { Average, Average__Output } from './gen/shadowkeep/v1/Average.js';
export type { AverageState, AverageState__Output } from './gen/shadowkeep/v1/AverageState.js';
export type { Box } from './gen/shadowkeep/v1/Box.js';
export type { Chunk__Output } from './gen/shadowkeep/v1/Chunk.js';
export type { Commit, Commit__Output } from './gen/shadowkeep/v1/Commit.js';
export type { DeleteRunRequest__Output } from './gen/shadowkeep/v1/DeleteRunRequest.js';
export type { DeleteRunResponse, DeleteRunResponse__Output } from './gen/shadowkeep/v1/DeleteRunResponse.js';
export type { GetRunRequest__Output } from './gen/shadowkeep/v1/GetRunRequest.js';
export type { GetShadowRequest, GetShadowRequest__Output } from './gen/shadowkeep/v1/GetShadowRequest.js';
export type { GetShadowResponse, GetShadowResponse__Output } from './gen/shadowkeep/v1/GetShadowResponse.js';
export type { ListRunsRequest__Output } from './gen/shadowkeep/v1/ListRunsRequest.js';
export type { ListRunsResponse, ListRunsResponse__Output } from './gen/shadowkeep/v1/ListRunsResponse.js';
export type { Memory__Output } from './gen/shadowkeep/v1/Memory.js';
export type { Movement, Movement__Output } from './gen/shadowkeep/v1/Movement.js';
export type { OpenRunRequest, OpenRunRequest__Output } from './gen/shadowkeep/v1/OpenRunRequest.js';
export type { OpenRunResponse, OpenRunResponse__Output } from './gen/shadowkeep/v1/OpenRunResponse.js';
export type { PolicyRule__Output } from './gen/shadowkeep/v1/PolicyRule.js';
export type { RemoveAverageRequest__Output } from './gen/shadowkeep/v1/RemoveAverageRequest.js';
export type { RemoveAverageResponse } from './gen/shadowkeep/v1/RemoveAverageResponse.js';
export type { Retention, Retention__Output } from './gen/shadowkeep/v1/Retention.js';
export type { Run, Run__Output } from './gen/shadowkeep/v1/Run.js';
export type { RunEvent, RunEvent__Output } from './gen/shadowkeep/v1/RunEvent.js';
export type { ShadowChunk__Output } from './gen/shadowkeep/v1/ShadowChunk.js';
export type { ShadowHeader__Output } from './gen/shadowkeep/v1/ShadowHeader.js';
export type { ShadowTensor } from './gen/shadowkeep/v1/ShadowTensor.js';
export type { ShadowWeightsClient } from './gen/shadowkeep/v1/ShadowWeights.js';
export type { Snapshots, Snapshots__Output } from './gen/shadowkeep/v1/Snapshots.js';
export type { Tensor, Tensor__Output } from './gen/shadowkeep/v1/Tensor.js';
export type { UpdateOpen, UpdateOpen__Output } from './gen/shadowkeep/v1/UpdateOpen.js';
export type { UpdateOpened, UpdateOpened__Output } from './gen/shadowkeep/v1/UpdateOpened.js';
export type { UpdateRequest, UpdateRequest__Output } from './gen/shadowkeep/v1/UpdateRequest.js';
export type { UpdateResponse, UpdateResponse__Output } from './gen/shadowkeep/v1/UpdateResponse.js';
export type { WatchRunRequest__Output } from './gen/shadowkeep/v1/WatchRunRequest.js';
export type { WriterState, WriterState__Output } from './gen/shadowkeep/v1/WriterState.js';
export { type EntryPart, partFrom, partsOf, tensorEntryBytes } from './layout-parts.js';
export {
  readInt32,
  readVarint32,
  readVarint64,
  valueAt,
  varintBytes,
  WIRE_TYPE,
  writeVarint,
} from './protobuf-fields.js';
export { decodeErrorDetails, encodeErrorDetails } from './status-details.js';
