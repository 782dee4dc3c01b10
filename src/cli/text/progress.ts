import { Presets, SingleBar } from 'cli-progress';
import { escapeUnprintable } from '../../common/index.js';
import { formatBytes, formatDuration } from './format.js';

/** A progress bar for a long transfer, on standard error. */
export interface Progress {
  advance(bytes: number): void;
  stop(): void;
}

/** What a progress bar shows of a transfer. */
export interface ProgressState {
  /** What is transferred. */
  label: string;
  doneBytes: number;
  totalBytes: number;
  elapsedMs: number;
}

/** How often the bar is drawn. It is seldom enough for a terminal over a slow line. */
const FRAMES_PER_SECOND = 4;

const BAR_WIDTH_MAX = 40;
/** Least width of the bar: a shorter one shows no more than the percentage. */
const BAR_WIDTH_MIN = 8;
const [DONE, LEFT] = ['█', '░'];

/** Starts a progress bar when standard error is a terminal and the output is for people; otherwise it shows nothing. */
export function startProgress(label: string, totalBytes: number, json: boolean): Progress {
  if (json || !process.stderr.isTTY || totalBytes === 0) return { advance: () => {}, stop: () => {} };
  const startedMs = performance.now();
  const state = { label: escapeUnprintable(label), doneBytes: 0, totalBytes };
  const bar = new SingleBar(
    {
      stream: process.stderr,
      fps: FRAMES_PER_SECOND,
      // The last column stays free, because clearing the rest of a line would erase a character in it.
      format: (_options, { maxWidth }: { maxWidth?: number }) =>
        formatProgress(
          { ...state, elapsedMs: performance.now() - startedMs },
          maxWidth === undefined ? undefined : maxWidth - 1,
        ),
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  bar.start(totalBytes, 0);
  return {
    advance(bytes) {
      state.doneBytes += bytes;
      bar.update(state.doneBytes);
    },
    stop: () => bar.stop(),
  };
}

/**
 * Formats a progress bar as one line of at most `width` columns. When there is no room, the bar gets shorter and is
 * left out, then the label, the bytes and the rate are. The percentage and the time that is left stay longest.
 */
export function formatProgress({ label, doneBytes, totalBytes, elapsedMs }: ProgressState, width = 80): string {
  const share = Math.min(1, doneBytes / totalBytes);
  const bytesPerMs = doneBytes / Math.max(1, elapsedMs);
  const percentage = `${Math.floor(100 * share)}%`;
  const left = doneBytes === 0 ? '' : `${formatDuration((totalBytes - doneBytes) / bytesPerMs)} left`;
  const rate = `${formatBytes(bytesPerMs * 1_000)}/s`;
  const size = `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
  const line = [[percentage, size, rate, left], [percentage, rate, left], [percentage, left], [percentage]]
    .map((parts) => parts.filter((part) => part !== '').join(' | '))
    .find((candidate) => candidate.length <= width);
  if (line === undefined) return '';
  const room = width - line.length - label.length - ' '.length;
  if (room < 0 || !line.includes(size)) return line;
  return `${label} ${drawBar(share, room - ' '.length)}${line}`;
}

function drawBar(share: number, room: number): string {
  if (room < BAR_WIDTH_MIN) return '';
  const width = Math.min(BAR_WIDTH_MAX, room);
  const done = Math.round(share * width);
  return `${DONE.repeat(done)}${LEFT.repeat(width - done)} `;
}
