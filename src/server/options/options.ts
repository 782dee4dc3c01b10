import { ShadowkeepError } from '../../common/index.js';
import { OPTION_ROWS, type OptionRow, type ServerOptions } from './option-table.js';

/** Completes options with their defaults. Throws INVALID_FIELD for an option that is out of its bounds. */
export function compileServerOptions(options: Partial<ServerOptions> = {}): ServerOptions {
  const compiled: Record<string, unknown> = {};
  for (const [name, row] of OPTION_ROWS) {
    compiled[name] =
      options[name] ?? (typeof row.default === 'function' ? row.default(options.memoryBytes) : row.default);
    check(name, row, compiled[name]);
  }
  // The assertion holds because each name of the table has been given a value.
  const complete = compiled as unknown as ServerOptions;
  parseListen(complete.listen);
  if (complete.dataDir === '') throw refused('dataDir', 'must be a directory or none', '""');
  return complete;
}

function check(name: string, row: OptionRow, value: unknown): void {
  if (row.kind === 'TEXT') return;
  if (row.kind === 'WORD') {
    if (!row.words.includes(String(value))) throw refused(name, `must be one of ${row.words.join(', ')}`, value);
    return;
  }
  if (row.isZeroTaken === true && value === 0) return;
  if (Number.isSafeInteger(value) && Number(value) >= row.min && Number(value) <= row.max) return;
  throw refused(name, `must be an integer from ${row.min} to ${row.max}`, value);
}

/** Splits HOST:PORT into its two parts; an IPv6 host keeps its brackets. Throws INVALID_FIELD. */
export function parseListen(listen: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+):(\d{1,5})$/.exec(listen);
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port > 65_535)
    throw refused('listen', 'must be HOST:PORT with a port from 0 to 65535', listen);
  return { host: match[1], port };
}

function refused(option: string, bound: string, value: unknown): ShadowkeepError {
  return new ShadowkeepError('INVALID_FIELD', `${option} ${bound}, got ${value}`, { metadata: { field: option } });
}
