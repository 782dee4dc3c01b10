import type {} from './webassembly.js';

export type { KernelMode, Kernels, UnitBytes } from './abi.js';
export { createKernels } from './instance.js';
