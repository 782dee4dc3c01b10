import { FLOAT_DTYPES, PRECISIONS } from '../common/index.js';
import { type KernelMode, type Kernels, UNIT_BYTES } from './abi.js';
import { KERNELS_WASM_BASE64 } from './gen/wasm.js';
import {
  referenceAccumulate,
  referenceCast,
  referenceDigest,
  referenceFinite,
  referenceLerp,
  referenceMeasure,
} from './reference.js';

/**
 * The kernels for one memory; they follow it when it grows.
 *
 * @throws Error when `mode` is `simd` and this runtime lacks WebAssembly SIMD
 */
export function createKernels({ memory, mode }: { memory: WebAssembly.Memory; mode: KernelMode }): Kernels {
  return mode === 'simd' ? simdKernels(memory) : scalarKernels(memory);
}

function scalarKernels(memory: WebAssembly.Memory): Kernels {
  return {
    lerp: record(PRECISIONS, (precision) => record(FLOAT_DTYPES, (from) => referenceLerp(memory, precision, from))),
    cast: record(FLOAT_DTYPES, (from) => record(FLOAT_DTYPES, (to) => referenceCast(memory, from, to))),
    measure: record(PRECISIONS, (precision) =>
      record(FLOAT_DTYPES, (from) => referenceMeasure(memory, precision, from)),
    ),
    finite: record(FLOAT_DTYPES, (from) => referenceFinite(memory, from)),
    accumulate: record(FLOAT_DTYPES, (from) => referenceAccumulate(memory, from)),
    digest: record(UNIT_BYTES, (unitBytes) => referenceDigest(memory, unitBytes)),
  };
}

function simdKernels(memory: WebAssembly.Memory): Kernels {
  const { exports } = new WebAssembly.Instance(compiledModule(), { env: { memory } });
  const find = (...parts: (string | number)[]) => {
    const name = parts.join('_').toLowerCase();
    const kernel = exports[name];
    if (kernel === undefined) throw new Error(`broken build: the kernels have no export ${name}`);
    return kernel;
  };
  return {
    lerp: record(PRECISIONS, (precision) => record(FLOAT_DTYPES, (from) => find('lerp', precision, from))),
    cast: record(FLOAT_DTYPES, (from) => record(FLOAT_DTYPES, (to) => find('cast', from, to))),
    measure: record(PRECISIONS, (precision) => record(FLOAT_DTYPES, (from) => find('measure', precision, from))),
    finite: record(FLOAT_DTYPES, (from) => find('finite', from)),
    accumulate: record(FLOAT_DTYPES, (from) => find('accumulate', from)),
    digest: record(UNIT_BYTES, (unitBytes) => find('digest', unitBytes)),
  };
}

function record<Key extends string | number, Value>(
  keys: readonly Key[],
  value: (key: Key) => Value,
): Record<Key, Value> {
  return Object.fromEntries(keys.map((key) => [key, value(key)])) as Record<Key, Value>;
}

let compiled: WebAssembly.Module | undefined;

/** Compiled once per process, when it is first needed. */
function compiledModule(): WebAssembly.Module {
  if (compiled === undefined) {
    const bytes = Uint8Array.from(atob(KERNELS_WASM_BASE64), (char) => char.charCodeAt(0));
    if (!WebAssembly.validate(bytes)) {
      throw new Error('this runtime does not support WebAssembly SIMD; start with --kernels=scalar, which is slower');
    }
    compiled = new WebAssembly.Module(bytes);
  }
  return compiled;
}
