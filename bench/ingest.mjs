import { compareTransfers } from './harness/transfer.mjs';

/** Steps of one measurement: a few seconds of work. */
const STEPS = 3;

/** A trainer pushes steps of a 1 GiB model; gigabytes per second from a step's first byte to its acknowledgement. */
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
