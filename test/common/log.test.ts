import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { firstUnprintable } from '../../src/common/printable.js';

const door = fileURLToPath(new URL('../../dist/common/index.js', import.meta.url));

function logged(level: string): { stdout: string; stderr: string; lines: Record<string, unknown>[] } {
  const program = `
    import { createLogger } from ${JSON.stringify(door)};
    const log = createLogger('${level}');
    log.debug('detail');
    log.info({ run: 'r', step: 3 }, 'run saved');
    log.info({ file: 'a\\u009b\\u202e\\u2028b' }, 'found');
    log.error({ err: new Error('disk full') }, 'run not saved');`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  });
  return {
    stdout,
    stderr,
    lines: stderr
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  };
}

test('the log is JSON lines on standard error, from its level on, with errors whole', () => {
  const { stdout, stderr, lines } = logged('info');
  expect(stdout).toBe('');
  expect(lines.map(({ msg }) => msg)).toEqual(['run saved', 'found', 'run not saved']);
  expect(lines[0]).toMatchObject({ run: 'r', step: 3, time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) });
  expect(lines[1]).toMatchObject({ file: 'a\u009b\u202e\u2028b' });
  expect(firstUnprintable(stderr.replaceAll('\n', ''))).toBeUndefined();
  expect(lines[2]).toMatchObject({ err: { message: 'disk full', stack: expect.stringContaining('Error: disk full') } });
  expect(logged('error').lines).toHaveLength(1);
  expect(logged('silent').lines).toEqual([]);
});
