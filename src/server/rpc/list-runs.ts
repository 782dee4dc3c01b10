import { LAYOUT_PART_BYTES } from '../../common/index.js';
import type { Run } from '../../engine/index.js';
import type { ListRunsRequest__Output, ListRunsResponse } from '../../protocol/index.js';
import { runMessage } from '../run-message.js';
import type { Service } from '../service.js';

/** About how many bytes a run, each of its averages and each of its snapshots take in a listing. Names have bounds. */
const RUN_BYTES = 1_024;
const AVERAGE_BYTES = 1_024;
const SNAPSHOT_BYTES = 128;

/** Lists runs in the order of their names, without their tensors, as many as fit in one answer. */
export async function listRuns(service: Service, { after }: ListRunsRequest__Output): Promise<ListRunsResponse> {
  const runs = service.table.list().filter(({ spec }) => spec.name > after);
  let bytes = 0;
  const end = runs.findIndex((run, index) => {
    bytes += bytesOf(run);
    return bytes > LAYOUT_PART_BYTES && index > 0;
  });
  const listed = end < 0 ? runs : runs.slice(0, end);
  const damaged = after === '' ? service.table.damaged : [];
  return { runs: listed.map((run) => runMessage(service, run, undefined)), more: listed.length < runs.length, damaged };
}

function bytesOf({ averages, head }: Run): number {
  return RUN_BYTES + averages.length * AVERAGE_BYTES + head.snapshots.length * SNAPSHOT_BYTES;
}

/** Most runs in an answer that claims no room of the transport. */
const SMALL_RUN_COUNT = 4;

export function isLargeTable({ table }: Service): boolean {
  return table.list().length > SMALL_RUN_COUNT;
}
