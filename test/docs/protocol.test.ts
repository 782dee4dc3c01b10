import { readFileSync } from 'node:fs';
import { loadSync } from '@grpc/proto-loader';
import { describe, expect, test } from 'vitest';
import { CHUNK_BYTES_MAX, CHUNK_CUT_BYTES, crc32c, ERROR_TABLE, MESSAGE_BYTES_MAX } from '../../src/common/index.js';
import { PROTO, PROTO_OPTIONS } from '../../src/protocol/definition.js';

const page = readFileSync('docs/protocol.md', 'utf8');

interface Described {
  readonly name: string;
  readonly field?: readonly { readonly name: string }[];
  readonly value?: readonly { readonly name: string }[];
}
const types = Object.values(loadSync(PROTO, PROTO_OPTIONS)).flatMap(({ type }) => (type ? [type as Described] : []));
const fields = new Set(types.flatMap(({ field = [] }) => field.map(({ name }) => name)));
const values = types.flatMap(({ value = [] }) => value.map(({ name }) => name));
/** Names of other worlds: languages, and what the page does not call by the proto's names. */
const OTHERS = new Set(['go_package', 'java_package', 'csharp_namespace', 'header', 'rpc_status']);

const words = (pattern: RegExp) => [...new Set([...page.matchAll(pattern)].map(([, word]) => word!))];

describe('docs/protocol.md', () => {
  test.each(words(/`([A-Z]+(?:_[A-Z]+)+)`/g))('%s is a reason of an error', (word) => {
    expect(Object.keys(ERROR_TABLE)).toContain(word);
  });

  test.each(words(/\b([a-z]+(?:_[a-z]+)+)\b/g).filter((word) => !OTHERS.has(word)))('%s is a field', (word) => {
    expect([...fields, 'grpc_status']).toContain(word);
  });

  test.each(words(/^\| ([A-Z_]+) \|/gm))('%s is the state of an ack', (word) => {
    expect(values).toContain(`STEP_STATE_${word}`);
  });

  test('names every state of an ack', () => {
    const states = values.filter((name) => name.startsWith('STEP_STATE_') && !name.endsWith('UNSPECIFIED'));
    expect(words(/^\| ([A-Z_]+) \|/gm).map((word) => `STEP_STATE_${word}`)).toEqual(expect.arrayContaining(states));
  });

  test('has the bounds of the code', () => {
    expect(page).toContain(`on a multiple of ${CHUNK_CUT_BYTES} bytes`);
    expect(CHUNK_BYTES_MAX).toBe(4 * 2 ** 20 - 4 * 2 ** 10);
    expect(page).toContain('(4 MiB − 4 KiB:');
    expect(page).toContain(`Messages of \`OpenRun\` and \`Update\` are at most ${MESSAGE_BYTES_MAX / 2 ** 20} MiB`);
    expect(page).toContain(`0x${crc32c(Buffer.from('123456789')).toString(16).toUpperCase()}`);
  });
});
