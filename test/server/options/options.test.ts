import { totalmem } from 'node:os';
import { describe, expect, test } from 'vitest';
import { ShadowkeepError } from '../../../src/common/index.js';
import {
  defaultMemoryBytes,
  defaultTransportBytes,
  MEMORY_BYTES_MIN,
  TRANSPORT_BYTES_MIN,
} from '../../../src/server/options/memory-defaults.js';
import type { ServerOptions } from '../../../src/server/options/option-table.js';
import { compileServerOptions, parseListen } from '../../../src/server/options/options.js';

describe('server options', () => {
  test('are complete without being told anything', () => {
    expect(compileServerOptions()).toEqual({
      listen: '127.0.0.1:50051',
      dataDir: 'shadowkeep-data',
      memoryBytes: defaultMemoryBytes(),
      transportBytes: defaultTransportBytes(defaultMemoryBytes()),
      maxConnections: 2_048,
      kernels: 'simd',
      logLevel: 'info',
      stepTimeoutMs: 300_000,
      reconnectGraceMs: 30_000,
      readStallTimeoutMs: 60_000,
      readLeaseMs: 10_000,
      checkpointIntervalMs: 60_000,
      stopGraceMs: 5_000,
      windowBytes: 8 << 20,
    });
  });

  test('the budget is a share of the machine, and no less than a small run needs', () => {
    expect(defaultMemoryBytes()).toBeLessThan(totalmem());
    expect(defaultMemoryBytes()).toBeGreaterThanOrEqual(MEMORY_BYTES_MIN);
  });

  test("the transport's budget is a twelfth of the runs', from 32 to 256 MiB", () => {
    const MIB = 1 << 20;
    for (const [memory, transport] of [
      [64, 32],
      [768, 64],
      [64 << 10, 256],
    ] as const) {
      expect(defaultTransportBytes(memory * MIB)).toBe(transport * MIB);
    }
  });

  const timeMax = 2 ** 31 - 1;
  test.each<[keyof ServerOptions, unknown[], unknown[], string]>([
    [
      'memoryBytes',
      [MEMORY_BYTES_MIN, totalmem()],
      [MEMORY_BYTES_MIN - 1, totalmem() + 1, 1e8 + 0.5, Number.NaN, Number.POSITIVE_INFINITY],
      `must be an integer from ${MEMORY_BYTES_MIN} to ${totalmem()}`,
    ],
    [
      'transportBytes',
      [TRANSPORT_BYTES_MIN, totalmem()],
      [TRANSPORT_BYTES_MIN - 1, totalmem() + 1, Number.NaN],
      `must be an integer from ${TRANSPORT_BYTES_MIN} to ${totalmem()}`,
    ],
    ['maxConnections', [1, 65_536], [0, 65_537, 1.5], 'must be an integer from 1 to 65536'],
    ['kernels', ['simd', 'scalar'], ['', 'SIMD', 'gpu'], 'must be one of simd, scalar'],
    [
      'logLevel',
      ['trace', 'silent'],
      ['', 'INFO', 'verbose'],
      'must be one of trace, debug, info, warn, error, fatal, silent',
    ],
    ['stepTimeoutMs', [1, timeMax], [0, -1, timeMax + 1, 0.5, Number.NaN], `must be an integer from 1 to ${timeMax}`],
    ['readStallTimeoutMs', [1, timeMax], [0, timeMax + 1], `must be an integer from 1 to ${timeMax}`],
    ['readLeaseMs', [0, timeMax], [-1, timeMax + 1], `must be an integer from 0 to ${timeMax}`],
    ['stopGraceMs', [0, timeMax], [-1, timeMax + 1], `must be an integer from 0 to ${timeMax}`],
    ['windowBytes', [0, 65_536, timeMax], [1, 65_535, timeMax + 1, -1], `must be an integer from 65536 to ${timeMax}`],
    ['dataDir', ['none', './x'], [''], 'must be a directory or none'],
  ])('%s is taken within its bounds, and refused outside with the value and the bound', (option, good, bad, bound) => {
    for (const value of good) expect(compileServerOptions({ [option]: value })).toMatchObject({ [option]: value });
    for (const value of bad) {
      try {
        compileServerOptions({ [option]: value });
        expect.fail(`${option} = ${value} was taken`);
      } catch (error) {
        expect(error).toBeInstanceOf(ShadowkeepError);
        expect(error).toMatchObject({ reason: 'INVALID_FIELD', metadata: { field: option } });
        const shown = value === '' && option === 'dataDir' ? '""' : value;
        expect((error as Error).message).toBe(`${option} ${bound}, got ${shown}`);
      }
    }
  });

  test.each([
    ['127.0.0.1:50051', '127.0.0.1', 50_051],
    ['localhost:0', 'localhost', 0],
    ['0.0.0.0:65535', '0.0.0.0', 65_535],
    ['[::1]:1', '[::1]', 1],
    ['[::]:50051', '[::]', 50_051],
  ])('%s is an address', (listen, host, port) => {
    expect(parseListen(listen)).toEqual({ host, port });
  });

  test.each([
    '',
    'localhost',
    ':50051',
    '127.0.0.1:',
    '127.0.0.1:65536',
    '127.0.0.1:-1',
    '127.0.0.1:1e3',
    '::1:50051',
    '[::1]',
    'a b:1',
    '127.0.0.1:123456',
    '127.0.0.1:80 ',
  ])('%j is no address', (listen) => {
    expect(() => parseListen(listen)).toThrow(`listen must be HOST:PORT with a port from 0 to 65535, got ${listen}`);
  });
});
