import type {} from './webassembly.js';

export type { CastKernel, KernelMode, Kernels, LerpKernel, UnitBytes } from './abi.js';
export { createKernels } from './instance.js';
