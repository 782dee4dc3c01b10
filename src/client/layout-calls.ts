import type { CallOptions, ClientUnaryCall, requestCallback } from '@grpc/grpc-js';
import { LAYOUT_PART_BYTES } from '../common/index.js';
import {
  checkMessage,
  type ListRunsResponse__Output,
  type OpenRunRequest,
  type OpenRunResponse__Output,
  partsOf,
  type Run__Output,
  type ShadowWeightsClient,
  tensorEntryBytes,
} from '../protocol/index.js';
import { protocolError } from './errors.js';

/** Calls whose request or answer has layouts, which may be too large for one message and travel in parts. */

/** Sends a request to open a run, in one message or, when it is large, with its tensors in several messages. */
export function sendOpenRun(
  stub: ShadowWeightsClient,
  request: OpenRunRequest,
  options: CallOptions,
  callback: requestCallback<OpenRunResponse__Output>,
): ClientUnaryCall {
  const { tensors = [] } = request;
  const parts = partsOf(tensors.length, LAYOUT_PART_BYTES, (index) => {
    const { name = '', shape = [] } = tensors[index]!;
    return tensorEntryBytes(name, shape.length);
  });
  const [first = [], ...more] = Array.from(parts, ({ begin, end }) => tensors.slice(begin, end));
  if (more.length === 0) return stub.OpenRun(request, options, callback);
  checkMessage('OpenRunRequest', request);
  const call = stub.OpenRunInParts(options, callback);
  // The callback reports a refusal that comes before the last part, so the stream's own error event is ignored.
  call.on('error', () => undefined);
  call.write({ ...request, tensors: first });
  for (const part of more) call.write({ tensors: part });
  call.end();
  return call;
}

/** Asks for a run until all its tensors have come. Begins again when the run is deleted and created anew meanwhile. */
export async function wholeRun(ask: (firstTensor: number) => Promise<Run__Output>): Promise<Run__Output> {
  let run = await ask(0);
  while (run.tensors.length < run.tensor_count) {
    const next = await ask(run.tensors.length);
    if (next.run_id !== run.run_id) run = await ask(0);
    else if (next.tensors.length === 0) throw protocolError(`${run.tensors.length} of ${run.tensor_count} tensors`);
    else run.tensors.push(...next.tensors);
  }
  return run;
}

/** Asks for runs until all have come. */
export async function allRuns(ask: (after: string) => Promise<ListRunsResponse__Output>): Promise<Run__Output[]> {
  const runs: Run__Output[] = [];
  for (;;) {
    const answer = await ask(runs.at(-1)?.run ?? '');
    runs.push(...answer.runs);
    if (!answer.more) return runs;
    if (answer.runs.length === 0) throw protocolError('a listing that has more runs and names none');
  }
}
