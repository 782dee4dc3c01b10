import { compareTransfers } from './harness/transfer.mjs';

/** Reads of one measurement, which take a few seconds. */
const READS = 3;

/**
 * Measures an evaluator that reads the shadow of a 1 GiB model, gigabytes per second. All systems read into memory that
 * is there already, as an evaluator that follows a training does. `fresh_memory` is Shadowkeep when the system must
 * find and clear new memory for each read.
 */
export const pull = {
  name: 'pull',
  needs: ['numpy', 'grpcio', 'protobuf', 'torch'],
  targets: [{ figure: 'vs_tcp', at_least: 0.35 }],
  run: (context) =>
    compareTransfers(context, 'pull', READS, ['shadowkeep', 'tcp', 'python_grpc', 'bare_grpc', 'fresh_memory']),
};
