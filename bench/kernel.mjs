import { randomFillSync } from 'node:crypto';
import { createKernels } from '../dist/kernels/index.js';
import { jsFold } from './harness/js-loop.mjs';
import { interleave, ratios } from './harness/pairs.mjs';
import { withProcesses } from './harness/processes.mjs';

/** Bytes of one element of the weights, by dtype. The shadow is float32. */
const DTYPE_BYTES = { F32: 4, BF16: 2, F16: 2, F64: 8 };
const DTYPES = Object.keys(DTYPE_BYTES);
const SYSTEMS = ['kernel', 'js_loop', 'torch_foreach'];

/**
 * Elements of each working set. In float32 shadow and weights have 256 MiB together, many times the size of a cache, or
 * 256 KiB, which fit into any second-level cache.
 */
const WORKING_SETS = { '': 1 << 25, 'in_cache.': 1 << 15 };
const QUICK_ELEMENTS = 1 << 12;

const SECONDS = 0.3;
const QUICK_SECONDS = 0.01;
const WEIGHT = 1e-3;

const WASM_PAGE_BYTES = 65_536;
/**
 * Distance that keeps the addresses of shadow and weights from being equal modulo 4096, which would cost a kernel 60 %.
 * The engine places its operands the same way (src/engine/memory/arena.ts).
 */
const SOURCE_SKEW_BYTES = 2112;

/**
 * Measures elements folded in place per nanosecond by one thread: by the service's kernel, a JavaScript loop, and
 * torch.
 */
export const kernel = {
  name: 'kernel',
  needs: ['numpy', 'torch'],
  targets: ['', 'in_cache.'].flatMap((set) => [
    { figure: `${set}vs_torch_foreach.F32`, at_least: 1.5 },
    { figure: `${set}vs_js_loop.F32`, at_least: 4 },
  ]),

  async run({ pairs, quick, progress, ...context }) {
    const seconds = quick ? QUICK_SECONDS : SECONDS;
    return await withProcesses(context, async (start) => {
      const torch = start.peer('torch_foreach.py');
      const contenders = {};
      for (const [set, full] of Object.entries(WORKING_SETS)) {
        const elements = quick ? QUICK_ELEMENTS : full;
        for (const dtype of DTYPES) {
          contenders[`${set}kernel.${dtype}`] = async () => speed(kernelFold(dtype, elements), elements, seconds);
          contenders[`${set}js_loop.${dtype}`] = async () =>
            speed(jsFold(dtype, randomFloats(elements)), elements, seconds);
          contenders[`${set}torch_foreach.${dtype}`] = () => torch.call('fold', { dtype, elements, seconds });
        }
      }
      const measured = await interleave(pairs, contenders, progress);
      return {
        samples: Object.assign({}, ...Object.keys(WORKING_SETS).map((set) => samplesOf(set, measured))),
        setup: { weight: WEIGHT, elements: WORKING_SETS[''], elements_in_cache: WORKING_SETS['in_cache.'] },
      };
    });
  },
};

function samplesOf(set, measured) {
  const samples = {};
  for (const system of SYSTEMS) {
    const figure = system === 'kernel' ? 'gelems_per_s' : `${system}_gelems_per_s`;
    for (const dtype of DTYPES) samples[`${set}${figure}.${dtype}`] = measured[`${set}${system}.${dtype}`];
  }
  for (const peer of ['torch_foreach', 'js_loop']) {
    for (const dtype of DTYPES) {
      samples[`${set}vs_${peer}.${dtype}`] = ratios(
        measured[`${set}kernel.${dtype}`],
        measured[`${set}${peer}.${dtype}`],
      );
    }
  }
  return samples;
}

/**
 * The speed of a fold that is repeated for some seconds, 10⁹ elements per second of CPU time. The fold runs on one
 * thread, whose CPU time leaves out the time in which other processes had the core.
 */
function speed(fold, elements, seconds) {
  const began = process.cpuUsage();
  let folds = 0;
  let microseconds = 0;
  while (microseconds < seconds * 1e6) {
    fold(WEIGHT);
    folds += 1;
    const { user, system } = process.cpuUsage(began);
    microseconds = user + system;
  }
  return (folds * elements) / microseconds / 1e3;
}

/** Makes a function that runs the kernel in a memory of its own, with the shadow first and the weights after it. */
function kernelFold(dtype, elements) {
  const shadowBytes = elements * 4;
  const source = shadowBytes + SOURCE_SKEW_BYTES;
  const bytes = source + elements * DTYPE_BYTES[dtype];
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / WASM_PAGE_BYTES) });
  const kernels = createKernels({ memory, mode: 'simd' });
  const values = randomFloats(elements);
  new Float32Array(memory.buffer, 0, elements).set(values);
  // The service's own cast writes the weights, from a copy of the values where the shadow is.
  kernels.cast.F32[dtype](source, 0, elements);
  const lerp = kernels.lerp.F32[dtype];
  return (weight) => lerp(0, 0, source, elements, weight);
}

/** Float32 values of usual size. A few thousand of them are repeated. */
function randomFloats(elements) {
  const block = Array.from(randomFillSync(new Int16Array(4_096)), (value) => value / 8_192);
  return Float32Array.from({ length: elements }, (_, index) => block[index % block.length]);
}
