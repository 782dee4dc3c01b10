import { composer } from './composer.js';
import { diffusers } from './diffusers.js';
import { edm2 } from './edm2.js';
import { emaPytorch } from './ema-pytorch.js';
import { fadelTorchEma } from './fadel-torch-ema.js';
import { fairseq } from './fairseq.js';
import { kDiffusion } from './k-diffusion.js';
import { keras } from './keras.js';
import { lightning } from './lightning.js';
import { mmengine } from './mmengine.js';
import { SCHEDULES } from './native.js';
import { nemo } from './nemo.js';
import { optax } from './optax.js';
import type { Preset } from './preset.js';
import { tensorflow } from './tensorflow.js';
import { textbook } from './textbook.js';
import { timmV2, timmV3 } from './timm.js';
import { torchEma, torchSwa } from './torch.js';
import { torchtitan } from './torchtitan.js';
import { ultralytics } from './ultralytics.js';

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
