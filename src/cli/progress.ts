import { Presets, SingleBar } from 'cli-progress';
import { formatBytes } from './format.js';

/** A bar for a long transfer, on standard error. */
export interface Progress {
  advance(bytes: number): void;
  stop(): void;
}

/** Drawn four times a second: a terminal over a slow line keeps up. */
const FRAMES_PER_SECOND = 4;

/** A bar when a person looks at a terminal, nothing when a program reads. */
export function startProgress(label: string, totalBytes: number, json: boolean): Progress {
  if (json || !process.stderr.isTTY || totalBytes === 0) return { advance: () => {}, stop: () => {} };
  const startedMs = performance.now();
  let doneBytes = 0;
  const bar = new SingleBar(
    {
      stream: process.stderr,
      fps: FRAMES_PER_SECOND,
      format: `${label} {bar} {percentage}% | {done} of {size} | {rate}/s | {eta_formatted} left`,
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  const payload = () => ({
    done: formatBytes(doneBytes),
    size: formatBytes(totalBytes),
    rate: formatBytes((doneBytes * 1_000) / Math.max(1, performance.now() - startedMs)),
  });
  bar.start(totalBytes, 0, payload());
  return {
    advance(bytes) {
      doneBytes += bytes;
      bar.update(doneBytes, payload());
    },
    stop: () => bar.stop(),
  };
}
