import { compareTransfers } from './harness/transfer.mjs';

/** Steps of one measurement, which take a few seconds. */
const STEPS = 3;

/**
 * Measures a trainer that pushes steps of a 1 GiB model: gigabytes per second from the first byte to the ack of a step.
 */
export const ingest = {
  name: 'ingest',
  needs: ['numpy', 'grpcio', 'protobuf', 'torch'],
  targets: [
    { figure: 'vs_python_grpc', at_least: 1.5 },
    { figure: 'vs_stock_window', at_least: 2.5 },
    { figure: 'vs_tcp', at_least: 0.3 },
  ],
  run: (context) =>
    compareTransfers(context, 'push', STEPS, ['shadowkeep', 'tcp', 'python_grpc', 'bare_grpc', 'stock_window']),
};
