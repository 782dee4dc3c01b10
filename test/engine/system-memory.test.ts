import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

// The ledger may have what the system has not: a container's limit, an address space. Only Linux has this way to say so.
describe.runIf(process.platform === 'linux')('a system without memory', () => {
  const [door, averages] = ['engine', 'engine/averages'].map((folder) =>
    fileURLToPath(new URL(`../../dist/${folder}/index.js`, import.meta.url)),
  );

  /** Plenty for Node, little for arenas, which take some GiB of addresses each. */
  const ADDRESS_SPACE_KIB = 64_000_000;

  test('refuses a run like the ledger does, and what was reserved for it is free again', () => {
    const program = `
      import { AVERAGE_DEFAULTS } from ${JSON.stringify(averages)};
      import { RunTable } from ${JSON.stringify(door)};
      const table = new RunTable(2 ** 50, 'simd');
      const averages = [{ ...AVERAGE_DEFAULTS, name: 'a', schedule: { kind: 'mean' } }];
      const open = (name, count) => {
        try {
          table.open({ name, tensors: [{ name: 'w', dtype: 'F32', shape: [count], policy: 'AVERAGE' }], averages });
        } catch (error) {
          return { reason: error.reason, message: error.message, cause: error.cause?.name };
        }
      };
      const before = open('small', 1);
      const used = table.ledger.usedBytes;
      const refused = open('large', 20e9);
      console.log(JSON.stringify({ before, refused, leaked: table.ledger.usedBytes - used, after: open('other', 1) }));`;
    const command = `ulimit -v ${ADDRESS_SPACE_KIB} && exec ${process.execPath} --input-type=module --eval "$PROGRAM"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', command], { env: { ...process.env, PROGRAM: program } });
    expect(JSON.parse(stdout.toString() || `{"failed":${JSON.stringify(stderr.toString())}}`)).toEqual({
      refused: {
        reason: 'MEMORY_EXHAUSTED',
        message: expect.stringMatching(
          /^shadows of run "large" needs \d+ bytes, the ledger has them and the system does not$/,
        ),
        cause: 'RangeError',
      },
      leaked: 0,
    });
  });
});
