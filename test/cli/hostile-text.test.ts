import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { firstUnprintable } from '../../src/common/printable.js';
import { SafetensorsWriter } from '../../src/storage/safetensors/writer.js';
import { closedPort } from '../support/closed-port.js';
import { type PeerMood, PUSHABLE, startTalker } from './hostile-peer.js';
import { startAtTerminal, TERMINAL } from './run-command.js';
import { runInProcess } from './run-in-process.js';

/**
 * A text with a terminal title, a bell, line breaks, a C1 colour, a text reversal, a separator and an invisible space.
 */
const HOSTILE = 'a\x1b]0;owned\x07b\n\r\t\x9b31mc\u202ed\u2028e\u200bf\x7fg';

/** An address where nobody listens. */
const NOWHERE = `127.0.0.1:${await closedPort()}`;

let directory = '';
const file = (name: string) => join(directory, name);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'shadowkeep-hostile-'));
  const writer = await SafetensorsWriter.create(file('step.safetensors'), [{ name: 'w', dtype: 'F32', shape: [1] }]);
  await writer.write(new Uint8Array(4));
  await writer.finish();
});

afterAll(() => rmSync(directory, { recursive: true }));

/** The commands that talk to a service. The file of `push` fits one of the two runs. */
const COMMANDS: string[][] = [
  ['runs'],
  ['describe', 'r', '--tensors'],
  ['watch', 'r', '--until-step', '1'],
  ['pull', 'r', '--out', 'OUT', '--overwrite'],
  ['pull', 'r', '--out', 'OUT', '--overwrite', '--gamma', '1'],
  ['push', PUSHABLE, 'STEP', '--step', '1'],
  ['push', 'r', 'STEP', '--step', '1'],
  ['average', 'add', 'r', 'mean'],
  ['average', 'remove', 'r', 'mean'],
  ['delete', 'r', '--yes'],
  ['health'],
];
const MOODS: PeerMood[] = ['answers', 'fails', 'fails without a reason'];
const FORMS = [[], ['--json']];

function withPaths(args: readonly string[]): string[] {
  const paths: Record<string, string> = { OUT: file('out.safetensors'), STEP: file('step.safetensors') };
  return args.map((arg) => paths[arg] ?? arg);
}

/** Counts the lines of both streams, and fails if one of them is not printable. */
function printableLines({ stdout, stderr }: { stdout: string; stderr: string }): number {
  const lines = [stdout, stderr].flatMap((text) => text.split('\n'));
  expect(lines.filter((line) => firstUnprintable(line) !== undefined)).toEqual([]);
  return lines.length;
}

describe.each(MOODS)('a service that %s with hostile texts', (mood) => {
  test.each(COMMANDS.flatMap((command) => FORMS.map((form) => [...command, ...form])))('%s', async (...args) => {
    const said = await Promise.all(
      ['plain', HOSTILE].map(async (text) => {
        const target = await startTalker(text, mood);
        return { text, target };
      }),
    );
    const [plain, hostile] = [
      await runInProcess([...withPaths(args), '--target', said[0]!.target]),
      await runInProcess([...withPaths(args), '--target', said[1]!.target]),
    ];
    expect(printableLines(plain)).toBeGreaterThan(1);
    // The hostile text starts no further lines, unless the client refuses a tensor of that name altogether.
    if (plain.status === hostile.status) expect(printableLines(hostile)).toBe(printableLines(plain));
    else printableLines(hostile);
    if (mood !== 'answers') expect(hostile).toMatchObject({ status: 1, stdout: '' });
    if (mood !== 'answers') expect(hostile.stderr).toContain('owned');
    if (args.includes('--json')) {
      const lines = `${hostile.stdout}${hostile.stderr}`.trimEnd().split('\n');
      expect(() => lines.map((line) => JSON.parse(line))).not.toThrow();
    }
  });
});

describe('what was typed', () => {
  test.each([
    [HOSTILE],
    [`--${HOSTILE}`],
    ['runs', HOSTILE],
    ['health', '--timeout', '1s', '--target', HOSTILE],
    ['runs', '--target', HOSTILE],
    ['pull', HOSTILE, '--target', NOWHERE, '--out', HOSTILE],
    ['pull', 'r', '--target', NOWHERE, '--out', `${HOSTILE}.safetensors`],
    ['push', 'r', HOSTILE],
    ['push', 'r', 'f', '--average', HOSTILE],
    ['push', 'r', 'f', '--ema', HOSTILE],
    ['presets', HOSTILE],
    ['presets', `constant:name=${HOSTILE}`],
    ['serve', '--listen', HOSTILE],
    ['serve', '--listen', '127.0.0.1:0', '--data-dir', `/dev/null/${HOSTILE}`],
    ['watch', 'r', '--every', HOSTILE],
    ['delete', HOSTILE],
  ])('%j', async (...args) => {
    for (const form of FORMS) {
      const outcome = await runInProcess([...form, ...args, ...form]);
      expect(outcome.status).not.toBe(0);
      printableLines(outcome);
    }
  });
});

test.skipIf(!TERMINAL.isAble)(`a progress bar with a hostile label${TERMINAL.note}`, async () => {
  const target = await startTalker(HOSTILE, 'answers');
  const pull = startAtTerminal(['pull', 'r', '--out', file('bar.safetensors'), '--overwrite', '--target', target]);
  const { stdout } = await pull.outcome;
  for (const raw of ['owned\x07', '\x9b', '\u202e', '\u2028']) expect(stdout).not.toContain(raw);
});
