const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** Formats bytes for people: `512 B`, `64.0 MiB`, `1.2 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Formats bytes as a flag takes them, without loss: `64MiB`, or `1000` when no unit fits. */
export function formatBytesExact(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value > 0 && value % 1024 === 0 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? String(bytes) : `${value}${UNITS[unit]}`;
}

/** Formats a count for people: `950`, `12.3 k`, `1.2 G`. */
export function formatCount(count: number): string {
  for (const [scale, suffix] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e4, 'k'],
  ] as const) {
    if (count >= scale) return `${(count / (suffix === 'k' ? 1e3 : scale)).toFixed(1)} ${suffix}`;
  }
  return String(count);
}

/** Formats a time for people: `350 ms`, `4.2 s`, `12 min`, `3.5 h`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/** Formats a number that may be absent, which is shown as `-`. */
export function formatOptional(value: number | undefined): string {
  return value === undefined ? '-' : String(value);
}

/** Formats a number with at most six significant digits: `0.001`, `0.333333`. */
export function formatWeight(weight: number | undefined): string {
  return weight === undefined ? '-' : String(Number(weight.toPrecision(6)));
}

/** Formats a share for people: `12.5 %`, `0.0032 %`. */
export function formatShare(share: number | undefined): string {
  return share === undefined ? '-' : `${Number((100 * share).toPrecision(3))} %`;
}
