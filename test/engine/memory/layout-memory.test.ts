import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/** What the heap and the buffers beside it have more with a run than without it, and what was reserved for that. */
interface Cost {
  readonly heapBytes: number;
  readonly reservedBytes: number;
}

interface Layout {
  readonly count: number;
  readonly rank: number;
  /** The dtypes of the tensors, in turns. */
  readonly dtypes: readonly string[];
  /** Each name is this text, repeated up to its length, and a number. */
  readonly text: string;
  readonly nameChars: number;
  readonly averages: number;
  /** Patterns of each average. */
  readonly patterns: number;
}

const doorOf = (folder: string): string =>
  JSON.stringify(fileURLToPath(new URL(`../../../dist/${folder}/index.js`, import.meta.url)));

/**
 * Opens a run as a request does, writes a step and reads it, so that whatever hangs on a layout is there. A process of its
 * own: one heap.
 */
const PROGRAM = `
  import { planRead, RunTable } from ${doorOf('engine')};
  import { shadowWeightsDefinition } from ${doorOf('protocol')};
  import { decodeOpenRun, validatingOpenRun } from ${doorOf('server/messages')};
  const { count, rank, dtypes, text, nameChars, averages, patterns } = JSON.parse(process.env.LAYOUT);
  const end = (work) => { for (;;) { const { done, value } = work.next(); if (done) return value; } };
  const nameOf = (index) => text.repeat(nameChars).slice(0, nameChars - 6) + String(index).padStart(6, '0');
  const requestOf = (run) => shadowWeightsDefinition.OpenRun.requestSerialize({
    run,
    tensors: Array.from({ length: count }, (_, index) => {
      return { name: nameOf(index), dtype: dtypes[index % dtypes.length], shape: Array(rank).fill(1) };
    }),
    averages: Array.from({ length: averages }, (_, index) => {
      return { name: 'a' + index, start: 'FIRST', mean: {}, exclude: Array.from({ length: patterns }, (_, at) => nameOf(at)) };
    }),
  });
  const table = new RunTable(2 ** 32, 'simd');
  const trainer = { incarnation: '', writers: 0, resumeStep: undefined, trainerStep: undefined };
  const writes = async (run) => {
    const generation = await run.whenSettled(() => run.attach(trainer));
    const request = { generation, writer: 0, boxes: undefined, wireDType: undefined, takeover: false, session: '' };
    const writer = run.openWriter(request, () => undefined);
    const bytes = run.stepBytes;
    for (let offset = 0; offset < bytes; offset += 1 << 20) {
      writer.stage(1, offset, new Uint8Array(Math.min(1 << 20, bytes - offset)));
    }
    const drive = async (fold) => { for (const _ of fold); };
    await writer.commit({ step: 1, bytes, isInitial: false, isSkipped: false }, drive);
  };
  const open = async (name) => {
    const { spec } = end(validatingOpenRun(end(decodeOpenRun([requestOf(name)]))));
    end(table.prepare(spec));
    const { run } = table.open(spec);
    await writes(run);
    for (const shadow of run.head.shadows) {
      for (const dtype of ['F16', 'BF16', 'F32', 'F64']) end(planRead(run.layout, run.head, shadow, 'ALL', dtype));
    }
    return run;
  };
  // The least of many: on a busy machine, threads that sweep and compile let go of what they hold much later.
  const heap = async () => {
    let least = Infinity;
    for (let turn = 0, since = 0; since < 10 && turn < 100; turn++, since++) {
      gc();
      await new Promise((done) => setTimeout(done, 5));
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      if (heapUsed + arrayBuffers < 0.999 * least) since = 0;
      least = Math.min(least, heapUsed + arrayBuffers);
    }
    return least;
  };
  // Another one first, which stays: code is compiled.
  await open('before');
  const empty = await heap();
  const run = await open('run');
  const heapBytes = (await heap()) - empty;
  console.log(JSON.stringify({ heapBytes, reservedBytes: run.memory.layoutBytes }));`;

function costOf(layout: Layout): Cost {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', '--no-incremental-marking', '--input-type=module', '--eval', PROGRAM],
    { env: { ...process.env, LAYOUT: JSON.stringify(layout) }, encoding: 'utf8' },
  );
  return JSON.parse(stdout || `{"failed":${JSON.stringify(stderr)}}`) as Cost;
}

const PLAIN: Layout = {
  count: 8_192,
  rank: 2,
  dtypes: ['F32'],
  text: 'layer.',
  nameChars: 32,
  averages: 1,
  patterns: 0,
};

describe('what is reserved for a layout is enough for what it takes of the heap', () => {
  test.each<[string, Partial<Layout>]>([
    ['of matrices', {}],
    ['of scalars', { rank: 0 }],
    ['of rank 5', { rank: 5 }],
    ['of many segments', { dtypes: ['F32', 'BF16', 'I64'] }],
    ['of the largest rank', { count: 2_048, rank: 64 }],
    ['with the longest names', { nameChars: 512 }],
    ['with names of two bytes a character', { text: 'слой', nameChars: 160 }],
    ['with sixteen averages', { averages: 16 }],
    ['with sixteen averages that leave some out', { averages: 16, patterns: 64 }],
    ['of many segments with averages that leave some out', { dtypes: ['F32', 'BF16'], averages: 3, patterns: 64 }],
  ])('%s', (_, change) => {
    const { heapBytes, reservedBytes } = costOf({ ...PLAIN, ...change });
    expect(heapBytes).toBeLessThanOrEqual(reservedBytes);
    // And it is no guess from far above, which would refuse what there is room for.
    expect(reservedBytes).toBeLessThan(3 * heapBytes);
  });
});
