import type { RunInfo, WriterState } from '../../client/index.js';
import { formatBytes, formatDuration, formatOptional } from './format.js';
import type { Column } from './table.js';

/** How far each writer of a run is, for runs that have several. */
export const WRITER_COLUMNS: readonly Column<WriterState>[] = [
  { title: 'WRITER', align: 'right', cell: ({ writer }) => String(writer) },
  { title: 'CONNECTED', cell: ({ connected }) => (connected ? 'yes' : 'no') },
  { title: 'STEP', align: 'right', cell: ({ step }) => formatOptional(step) },
  { title: 'SENDS', align: 'right', dropRank: 1, cell: ({ stepBytes }) => formatBytes(stepBytes) },
  { title: 'RECEIVING', cell: receivingText },
  { title: 'LAG', cell: lagText },
];

/** The versions that a trainer can rewind to, and which ones are kept. */
export function retainedText({ retain, retainedSteps }: RunInfo): string {
  if (retain === undefined) return '-';
  const rule = `the newest ${retain.countMax} of every ${retain.everySteps} steps`;
  return retainedSteps.length === 0 ? `none yet, ${rule}` : `steps ${retainedSteps.join(', ')}, ${rule}`;
}

function receivingText({ receivingStep, receivedBytes }: WriterState): string {
  return receivingStep === undefined ? '-' : `step ${receivingStep}, ${formatBytes(receivedBytes)} so far`;
}

/** Steps that others have sent whole and this one has not. */
function lagText({ lagSteps, lagMs }: WriterState): string {
  return lagSteps === 0 ? '-' : `${lagSteps} ${lagSteps === 1 ? 'step' : 'steps'}, ${formatDuration(lagMs)}`;
}
