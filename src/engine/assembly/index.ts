export type { Drive, PipelineRun } from './pipeline.js';
export type { StagedStep, StepKind } from './staged-step.js';
export { StepDigests } from './step-digests.js';
export type { WriterStream } from './writer-stream.js';
export { type WriterRequest, type WriterState, Writers } from './writers.js';
