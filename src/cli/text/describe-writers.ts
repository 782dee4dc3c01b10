import type { RunInfo, WriterState } from '../../client/index.js';
import { formatBytes, formatDuration, formatOptional } from './format.js';
import type { Column } from './table.js';

/** The columns of the table that shows how far each writer of a run is. */
export const WRITER_COLUMNS: readonly Column<WriterState>[] = [
  { title: 'WRITER', align: 'right', cell: ({ writer }) => String(writer) },
  { title: 'CONNECTED', cell: ({ connected }) => (connected ? 'yes' : 'no') },
  { title: 'STEP', align: 'right', cell: ({ step }) => formatOptional(step) },
  { title: 'SENDS', align: 'right', dropRank: 1, cell: ({ stepBytes }) => formatBytes(stepBytes) },
  { title: 'RECEIVING', cell: receivingText },
  { title: 'LAG', cell: lagText },
];

/** The versions that a trainer can rewind to, and the rule by which versions are kept, in words. */
export function retainedText({ retain, retainedSteps }: RunInfo): string {
  if (retain === undefined) return '-';
  const rule = `the newest ${retain.countMax} of every ${retain.everySteps} steps`;
  return retainedSteps.length === 0 ? `none yet, ${rule}` : `steps ${retainedSteps.join(', ')}, ${rule}`;
}

function receivingText({ receivingStep, receivedBytes }: WriterState): string {
  return receivingStep === undefined ? '-' : `step ${receivingStep}, ${formatBytes(receivedBytes)} so far`;
}

/** The lag of a writer in words: how many steps others have sent whole and it has not, and for how long. */
function lagText({ lagSteps, lagMs }: WriterState): string {
  return lagSteps === 0 ? '-' : `${lagSteps} ${lagSteps === 1 ? 'step' : 'steps'}, ${formatDuration(lagMs)}`;
}
