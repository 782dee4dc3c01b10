import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createKernels, type KernelMode } from '../../src/kernels/index.js';

const MODES: readonly KernelMode[] = ['simd', 'scalar'];
const PAGE_BYTES = 65_536;

describe.each(MODES)('createKernels, %s', (mode) => {
  test('follows its memory when it grows', () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { cast } = createKernels({ memory, mode });
    new Float32Array(memory.buffer).set([1.5]);
    cast.F32.F64(64, 0, 1);
    memory.grow(1);
    cast.F32.F64(PAGE_BYTES, 0, 1);
    expect(new Float64Array(memory.buffer, PAGE_BYTES, 1)[0]).toBe(1.5);
  });

  test('keeps to its own memory', () => {
    const [first, second] = [new WebAssembly.Memory({ initial: 1 }), new WebAssembly.Memory({ initial: 1 })];
    const kernels = createKernels({ memory: first, mode });
    createKernels({ memory: second, mode });
    new Float32Array(first.buffer).set([1.5]);
    kernels.cast.F32.F32(64, 0, 1);
    expect(new Float32Array(first.buffer)[16]).toBe(1.5);
    expect(new Float32Array(second.buffer)[16]).toBe(0);
  });

  test('reaches the last byte of 4 GiB', () => {
    const memory = new WebAssembly.Memory({ initial: 65_536, maximum: 65_536 });
    const { lerp, cast } = createKernels({ memory, mode });
    const count = 21;
    const shadow = 2 ** 32 - count * 4;
    const source = 2 ** 31 - 8;
    new Float32Array(memory.buffer, source, count).fill(8);
    lerp.F32.F32(shadow, shadow, source, count, 0.25);
    expect([...new Float32Array(memory.buffer, shadow, count)]).toEqual(new Array(count).fill(2));
    cast.F32.BF16(0, shadow, count);
    expect([...new Uint16Array(memory.buffer, 0, count)]).toEqual(new Array(count).fill(0x4000));
    cast.F32.F32(shadow, source, count);
    expect([...new Float32Array(memory.buffer, shadow, count)]).toEqual(new Array(count).fill(8));
  });
});

// V8 has no SIMD on an x64 without SSE4.1, and can be told to see none.
describe.runIf(process.arch === 'x64')('without WebAssembly SIMD', () => {
  const door = fileURLToPath(new URL('../../dist/kernels/index.js', import.meta.url));

  function inRuntimeWithoutSimd(mode: KernelMode): string {
    expect(existsSync(door), 'npm run build comes first').toBe(true);
    const program = `
      import { createKernels } from ${JSON.stringify(door)};
      const memory = new WebAssembly.Memory({ initial: 1 });
      try {
        new Float32Array(memory.buffer).set([1.5]);
        createKernels({ memory, mode: '${mode}' }).cast.F32.F64(64, 0, 1);
        console.log(new Float64Array(memory.buffer)[8]);
      } catch (error) {
        console.log(error.message);
      }`;
    const { stdout } = spawnSync(process.execPath, ['--no-enable-sse4-1', '--input-type=module', '--eval', program]);
    return stdout.toString().trim();
  }

  test('simd says what to do', () => {
    expect(inRuntimeWithoutSimd('simd')).toContain('--kernels=scalar');
  });

  test('scalar works', () => {
    expect(inRuntimeWithoutSimd('scalar')).toBe('1.5');
  });
});
