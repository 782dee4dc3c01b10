import { describe, expect, test } from 'vitest';
import { parseAverage, preset, ShadowkeepError } from '../../src/client/index.js';

/** Texts that are refused, each with what the error says. */
const REFUSED: readonly (readonly [text: string, message: string | RegExp])[] = [
  ['', 'an average must be [NAME=]PRESET[:option=value,…], got ""'],
  ['ema=:decay=1', /must be \[NAME=\]PRESET/],
  ['timm', 'no preset "timm": did you mean timm-v2 or timm-v3? shadowkeep presets lists them all'],
  [
    'a=HALF_LIFE:updates=3',
    /^no preset "HALF_LIFE": did you mean half-life or half-life-fraction or half-life-ramp-up\? /,
  ],
  ['fancy', 'no preset "fancy": shadowkeep presets lists them all'],
  ['torch-ema:', 'torch-ema: an option must be option=value, got ""'],
  ['torch-ema:decay', 'torch-ema: an option must be option=value, got "decay"'],
  ['torch-ema:decay=', 'torch-ema: an option must be option=value, got "decay="'],
  [
    'torch-ema:beta=1',
    'torch-ema has no option "beta", only decay, device, use_buffers, name, precision, include, exclude',
  ],
  ['torch-ema:toString=1', /has no option "toString"/],
  ['torch-ema:decay=0.1,decay=0.2', /decay must be given once, got "0.2"/],
  ['a=torch-ema:name=b', /name must be given once/],
  ['-x=torch-ema', /^name "-x" must match/],
  ['=torch-ema', /name must be/],
  ['torch-ema:precision=F16', 'torch-ema: precision must be one of F32, F64, or none, got "F16"'],
  ['torch-ema:decay=1.5', 'torch-ema: decay must be a number from 0 to 1, got 1.5'],
  ['torch-ema:decay=-0.1', /decay must be a number from 0 to 1, got -0.1/],
  ['torch-ema:decay=nan', /decay must be a number from 0 to 1, got "nan"/],
  ['torch-ema:decay=0x1', /decay must be a number from 0 to 1, got "0x1"/],
  ['torch-ema:decay=true', /decay must be a number from 0 to 1, got "true"/],
  ['textbook', 'textbook: decay must be given: a number from 0 to 1, got none'],
  ['timm-v3:use_warmup=1', 'timm-v3: use_warmup must be true or false, got "1"'],
  ['timm-v3:update_after_step=1.5', /update_after_step must be an integer of at least 0, got 1.5/],
  ['timm-v3:use_warmup=true,decay=0.5,min_decay=0.6', 'timm-v3: min_decay must be at most decay (0.5), got 0.6'],
  ['timm-v3:use_warmup=true,warmup_gamma=0', /warmup_gamma must be a number above 0, got 0/],
  ['timm-v3:dtype=bfloat16', /dtype must be one of float32, float64, or none, got "bfloat16"/],
  ['ema-pytorch:update_every=0', /update_every must be an integer of at least 1/],
  ['ema-pytorch:beta=0.5,min_value=0.6', /min_value must be at most beta \(0.5\), got 0.6/],
  ['ema-pytorch:ignore_names=w', /ignore_names must be none: name the tensors with include and exclude/],
  ['ema-pytorch:update_model_with_ema_every=5', /must be none: the service never writes the trainer's weights/],
  ['diffusers:decay=0.5,min_decay=0.6', /min_decay must be at most decay/],
  ['diffusers:power=inf', /power must be a number above 0, got inf/],
  ['lightning:update_every_n_steps=0', /update_every_n_steps must be an integer of at least 1/],
  ['lightning:update_starting_at_epoch=2', /must be none: the service knows no epochs/],
  ['composer:half_life=10ep', /half_life must be a time of at least 1ba .*, or none, got "10ep"/],
  ['composer:half_life=0ba', /half_life must be a time of at least 1ba/],
  ['composer:half_life=none', /half_life must be given where smoothing is none, got none/],
  ['composer:smoothing=0.9', /half_life must be none where smoothing is given, got "1000ba"/],
  ['composer:ema_start=0.5dur', /ema_start must be 0.0dur or a time as 100ba/],
  ['nemo:decay=0.9,every_n_steps=0', /every_n_steps must be an integer of at least 1/],
  ['edm2:stds=0', /stds must be a list, each a number above 0, at most 0.288675/],
  ['edm2:stds=0.3', /stds must be a list/],
  ['edm2:stds=0.1+x', /stds must be a list, .*, got "0.1\+x"/],
  ['edm2:stds=0.1,batch_size=8', /stds must be left out with halflife_Mimg/],
  ['edm2:halflife_Mimg=1', /batch_size must be given, to turn images into steps, got none/],
  ['edm2:halflife_Mimg=0,batch_size=8', /halflife_Mimg must be a number above 0, at most inf, got 0/],
  ['edm2:rampup_ratio=none,batch_size=8', /halflife_Mimg must be finite where rampup_ratio is none/],
  ['optax:decay=1', /decay must be below 1 with debias/],
  ['optax:decay=0.9,accumulator_dtype=float64,precision=F32', /precision must be F64, which another option says/],
  ['tensorflow:decay=0.9,num_updates=1,zero_debias=true', /zero_debias must be false with num_updates/],
  ['tensorflow:decay=1,zero_debias=true', /decay must be below 1 with zero_debias/],
  ['keras:ema_overwrite_frequency=10', /ema_overwrite_frequency must be none: the service never writes/],
  ['torchtitan:half_life_fraction=0', /half_life_fraction must be a number above 0/],
  ['torchtitan:enable=false', /enable must be true: leave the average out instead/],
  ['ultralytics:tau=0', /tau must be a number above 0/],
  ['mmengine:type=lerp', /type must be one of ema, annealing, swa, got "lerp"/],
  ['mmengine:type=swa,momentum=0.1', /momentum must be left out with type=swa/],
  ['mmengine:gamma=5', /gamma must be left out with type=ema/],
  ['mmengine:interval=0', /interval must be an integer of at least 1/],
  ['k-diffusion:min_value=0.9,max_value=0.8', /min_value must be at most max_value \(0.8\)/],
  ['k-diffusion:min_value=0.1,start_at=2', /min_value must be 0 with start_at/],
  ['fairseq:ema_seed_model=seed.pt', /ema_seed_model must be none: push the weights of that model/],
  ['fairseq:ema_update_freq=0', /ema_update_freq must be an integer of at least 1/],
  ['constant:decay=1.5', /decay must be a number from 0 to 1, got 1.5/],
  [
    'constant:decay=1,bias_correction=true',
    /bias_correction must be left out: it needs a half_life, or a constant decay below 1, got decay 1/,
  ],
  ['constant:decay=0.9,start=LATE', /start must be one of ZEROS, INITIAL, FIRST, got "LATE"/],
  ['mean:every=0', /every must be an integer of at least 1/],
  ['mean:every=2,every_offset=2', /every_offset must be below every \(2\), got 2/],
  ['mean:bias_correction=true', /mean has no option "bias_correction"/],
  ['half-life:updates=0', /updates must be a finite number above 0/],
  ['ratio-warmup:decay=0.5,decay_min=0.6', /decay_min must be at most decay \(0.5\)/],
  ['inverse-power:decay_min=0.6,decay_max=0.5', /decay_min must be at most decay_max \(0.5\)/],
  ['exponential-ramp:decay=0.5,tau=-1', /tau must be a finite number above 0/],
  ['half-life-fraction:fraction=0', /fraction must be a finite number above 0/],
  ['annealed-momentum:momentum=2,gamma=1', /momentum must be a number from 0 to 1/],
  ['cosine:decay=0.9,steps=0', /steps must be an integer of at least 1/],
  ['power-function', /sigma_rel must be given where gamma is not/],
  ['power-function:gamma=1,sigma_rel=0.1', /sigma_rel must be left out where gamma is given/],
  ['power-function:gamma=-1', /gamma must be a number from 0 to 1000000, or none/],
  ['power-function:sigma_rel=0', /sigma_rel must be a number from 0.000001 to 0.288675/],
  ['half-life-ramp-up:ratio=0', /ratio must be a finite number above 0/],
];

describe('what is refused, by name, option, value and bound', () => {
  function failure(make: () => unknown): ShadowkeepError {
    try {
      make();
    } catch (error) {
      expect(error).toBeInstanceOf(ShadowkeepError);
      return error as ShadowkeepError;
    }
    return expect.fail('expected a failure');
  }

  test.each(REFUSED)('%s', (text, message) => {
    const error = failure(() => parseAverage(text));
    expect(error.code).toBe('INVALID_ARGUMENT');
    if (typeof message === 'string') expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['torch-ema', { decay: '0.9' }, /^torch-ema: decay must be a number from 0 to 1, got "0.9"$/],
    ['torch-ema', { decay: Number.NaN }, /decay must be a number from 0 to 1, got NaN/],
    ['torch-ema', { decay: null }, /decay must be a number from 0 to 1, got none/],
    ['timm-v3', { use_warmup: 1 }, /use_warmup must be true or false, got 1/],
    ['timm-v3', { update_after_step: 2 ** 53 }, /update_after_step must be an integer/],
    ['edm2', { stds: [] }, /stds must be a list/],
    ['edm2', { stds: 0.1 }, /stds must be a list/],
    ['torch-ema', { include: 'w*' }, /include must be a list/],
    ['torch-ema', { name: 'n'.repeat(65) }, /at most 64/],
  ])('%s with %j', (name, options, message) => {
    expect(failure(() => preset(name, options)).message).toMatch(message);
  });
});
