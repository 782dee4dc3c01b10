import { ShadowkeepError } from './errors.js';
import { AVERAGE_NAME_CHARS_MAX, RUN_NAME_CHARS_MAX, TENSOR_NAME_BYTES_MAX } from './limits.js';
import { escapeUnprintable, firstUnprintable } from './printable.js';

const IDENTIFIER = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
/**
 * Names that a careless reader would turn into something else: into a prototype, or into safetensors' own metadata entry.
 */
const RESERVED = new Set(['__proto__', '__metadata__']);
const QUOTED_CHARS_MAX = 80;

/** A value as it may stand in a message: JSON-quoted, cut, nothing unprintable. */
export function quote(value: string): string {
  const cut = value.length > QUOTED_CHARS_MAX ? `${value.slice(0, QUOTED_CHARS_MAX)}…` : value;
  return escapeUnprintable(JSON.stringify(cut));
}

/** A value of any type as it may stand in a message. */
export function shown(value: unknown): string {
  return typeof value === 'string' ? quote(value) : String(value);
}

/** A run's name: it is a folder's name in the data directory too, so it can never leave that. */
export function checkRunName(name: string, field = 'run'): void {
  checkIdentifier(name, field, RUN_NAME_CHARS_MAX);
}

export function checkAverageName(name: string, field: string): void {
  checkIdentifier(name, field, AVERAGE_NAME_CHARS_MAX);
}

function checkIdentifier(name: string, field: string, charsMax: number): void {
  if (name.length > charsMax) {
    throw invalid(field, name, `has ${name.length} characters, at most ${charsMax} are allowed`);
  }
  if (!IDENTIFIER.test(name) || name.includes('..')) {
    throw invalid(field, name, `must match ${IDENTIFIER.source} and not contain ".."`);
  }
}

/** A tensor's name, as it stands in a safetensors header. */
export function checkTensorName(name: string, field: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes < 1 || bytes > TENSOR_NAME_BYTES_MAX) {
    throw invalid(field, name, `has ${bytes} bytes, 1 to ${TENSOR_NAME_BYTES_MAX} are allowed`);
  }
  checkPrintable(name, field);
  if (name.includes('..')) throw invalid(field, name, 'contains ".."');
  if (RESERVED.has(name)) throw invalid(field, name, 'is reserved');
}

/** A text that a person will see: names of tensors, incarnations, presets. Throws INVALID_NAME. */
export function checkPrintable(text: string, field: string): void {
  const found = firstUnprintable(text);
  if (found !== undefined) throw invalid(field, text, `contains U+${found}, which cannot be shown as it is`);
}

function invalid(field: string, name: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_NAME', `${field} ${quote(name)} ${problem}`, { metadata: { field } });
}

/** A test for names: `*` matches any run of characters, everything else itself. */
export function namePattern(pattern: string): (name: string) => boolean {
  if (!pattern.includes('*')) return (name) => name === pattern;
  const [head = '', ...rest] = pattern.split(/\*+/);
  const tail = rest.pop() ?? '';
  return (name) => {
    if (!name.startsWith(head) || !name.endsWith(tail)) return false;
    let at = head.length;
    const end = name.length - tail.length;
    for (const part of rest) {
      const found = name.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return at <= end;
  };
}
