import { keras, optax, tensorflow } from './jax-tensorflow.js';
import { SCHEDULES } from './native.js';
import type { Preset } from './preset.js';
import { emaPytorch, fadelTorchEma, textbook, torchEma, torchSwa } from './pytorch.js';
import { composer, fairseq, lightning, mmengine, nemo, torchtitan } from './trainers.js';
import { diffusers, edm2, kDiffusion, timmV2, timmV3, ultralytics } from './vision.js';

/** All presets by their names: first those of peers, then Shadowkeep's own schedules. */
export const PRESETS: ReadonlyMap<string, Preset> = new Map(
  [
    textbook,
    torchEma,
    torchSwa,
    timmV2,
    timmV3,
    emaPytorch,
    fadelTorchEma,
    diffusers,
    lightning,
    composer,
    nemo,
    edm2,
    optax,
    tensorflow,
    keras,
    torchtitan,
    ultralytics,
    mmengine,
    kDiffusion,
    fairseq,
    ...SCHEDULES,
  ].map((preset) => [preset.name, preset]),
);
