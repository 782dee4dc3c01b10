import { describe, expect, test } from 'vitest';
import { listPresets, parseAverage } from '../../src/client/index.js';
import { simulate } from '../support/simulate-average.js';
import * as peers from './presets-peers.js';

/** The pushed values p_t = t; p_0 = 0 is the value at construction. */
const UPDATES = [1, 2, 3, 4, 5, 6];
const LONG = Array.from({ length: 60 }, (_, index) => Math.sin(index + 1));
const TOLERANCE = 1e-6;

/** Compares two trajectories, except where the peer has NaN because it has no average yet. */
function expectClose(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  expect(expected.at(-1)).not.toBeNaN();
  actual.forEach((value, index) => {
    if (Number.isNaN(expected[index])) return;
    const error = Math.abs(value - expected[index]!);
    if (!(error <= TOLERANCE * Math.max(1e-3, Math.abs(expected[index]!)))) {
      expect(actual, `update ${index + 1}`).toEqual(expected);
    }
  });
}

/** The exponent γ of a relative width σ, by bisection: σ(γ) = √((γ + 1) / ((γ + 2)² (γ + 3))) falls. */
function gammaOf(sigma: number): number {
  let [low, high] = [0, 1000];
  for (let halving = 0; halving < 100; halving += 1) {
    const middle = (low + high) / 2;
    const width = Math.sqrt((middle + 1) / ((middle + 2) ** 2 * (middle + 3)));
    [low, high] = width > sigma ? [middle, high] : [low, middle];
  }
  return low;
}

/** Texts and the peers that they stand for. Each peer is made anew, because peers have counters. */
const CASES: readonly (readonly [text: string, peer: () => peers.Peer])[] = [
  ['textbook:decay=0.9', () => peers.blendFirst(0.9)],
  ['torch-ema', () => peers.torchEma(0.999)],
  ['torch-ema:decay=0.9', () => peers.torchEma(0.9)],
  ['torch-swa', () => peers.torchSwa()],
  ['timm-v2', () => peers.blendFirst(0.9999)],
  ['timm-v2:decay=0.9', () => peers.blendFirst(0.9)],
  ['timm-v3', () => peers.timmV3({ decay: 0.9999 })],
  ['timm-v3:decay=0.9,min_decay=0.95', () => peers.timmV3({ decay: 0.9, minDecay: 0.95 })],
  ['timm-v3:decay=0.9,update_after_step=2', () => peers.timmV3({ decay: 0.9, after: 2 })],
  ['timm-v3:use_warmup=true', () => peers.timmV3({ decay: 0.9999, isWarmingUp: true })],
  [
    'timm-v3:decay=0.6,min_decay=0.4,update_after_step=1,use_warmup=true,warmup_gamma=2,warmup_power=0.75',
    () => peers.timmV3({ decay: 0.6, minDecay: 0.4, after: 1, isWarmingUp: true, gamma: 2, power: 0.75 }),
  ],
  ['ema-pytorch', () => peers.emaPytorch({ beta: 0.9999, after: 100, every: 10 })],
  ['ema-pytorch:update_after_step=0,update_every=1', () => peers.emaPytorch({ beta: 0.9999, after: 0, every: 1 })],
  ['ema-pytorch:update_after_step=3,update_every=1', () => peers.emaPytorch({ beta: 0.9999, after: 3, every: 1 })],
  ['ema-pytorch:update_after_step=2,update_every=2', () => peers.emaPytorch({ beta: 0.9999, after: 2, every: 2 })],
  ['ema-pytorch:update_after_step=1,update_every=2', () => peers.emaPytorch({ beta: 0.9999, after: 1, every: 2 })],
  [
    'ema-pytorch:beta=0.7,update_after_step=4,update_every=3,min_value=0.5',
    () => peers.emaPytorch({ beta: 0.7, after: 4, every: 3, minValue: 0.5 }),
  ],
  ['ema-pytorch:beta=1,update_after_step=3,update_every=2', () => peers.emaPytorch({ beta: 1, after: 3, every: 2 })],
  ['ema-pytorch:beta=1,update_after_step=4,update_every=2', () => peers.emaPytorch({ beta: 1, after: 4, every: 2 })],
  ['fadel-torch-ema:decay=0.9', () => peers.fadelTorchEma(0.9, true)],
  ['fadel-torch-ema:decay=0.2', () => peers.fadelTorchEma(0.2, true)],
  ['fadel-torch-ema:decay=0.9,use_num_updates=false', () => peers.fadelTorchEma(0.9, false)],
  ['diffusers', () => peers.diffusers({ decay: 0.9999 })],
  ['diffusers:decay=0.3,min_decay=0.2', () => peers.diffusers({ decay: 0.3, minDecay: 0.2 })],
  [
    'diffusers:update_after_step=2,use_ema_warmup=true',
    () => peers.diffusers({ decay: 0.9999, after: 2, isPower: true }),
  ],
  ['lightning', () => peers.lightning({ decay: 0.999 })],
  [
    'lightning:decay=0.9,update_every_n_steps=2,update_starting_at_step=3',
    () => peers.lightning({ decay: 0.9, every: 2, startAt: 3 }),
  ],
  [
    'lightning:decay=0.9,update_every_n_steps=10,update_starting_at_step=5',
    () => peers.lightning({ decay: 0.9, every: 10, startAt: 5 }),
  ],
  ['composer', () => peers.composer({ smoothing: 2 ** (-1 / 1000) })],
  ['composer:half_life=none,smoothing=0.9,ema_start=3ba', () => peers.composer({ smoothing: 0.9, startAt: 3 })],
  ['composer:half_life=10ba,update_interval=3ba', () => peers.composer({ smoothing: 2 ** (-3 / 10), every: 3 })],
  [
    'composer:half_life=10ba,ema_start=5ba,update_interval=2ba',
    () => peers.composer({ smoothing: 2 ** (-2 / 10), startAt: 5, every: 2 }),
  ],
  [
    'composer:half_life=10ba,ema_start=4ba,update_interval=2ba',
    () => peers.composer({ smoothing: 2 ** (-2 / 10), startAt: 4, every: 2 }),
  ],
  ['nemo:decay=0.9', () => peers.nemo(0.9)],
  ['nemo:decay=0.9,every_n_steps=2', () => peers.nemo(0.9, 2)],
  ['edm2:stds=0.1', () => peers.edm2Power(gammaOf(0.1), 64)],
  ['edm2:stds=0.05', () => peers.edm2Power(gammaOf(0.05), 64)],
  ['edm2:batch_size=2048', () => peers.edm2Traditional(Number.POSITIVE_INFINITY, 0.09, 2048)],
  ['edm2:halflife_Mimg=0.001,batch_size=2000', () => peers.edm2Traditional(0.001, 0.09, 2000)],
  ['edm2:halflife_Mimg=0.001,rampup_ratio=none,batch_size=200', () => peers.edm2Traditional(0.001, null, 200)],
  ['optax:decay=0.9', () => peers.optax(0.9, true)],
  ['optax:decay=0.9,debias=false', () => peers.optax(0.9, false)],
  ['tensorflow:decay=0.9', () => peers.blendFirst(0.9)],
  ['tensorflow:decay=0.9,num_updates=0', () => peers.tensorflow(0.9, 0)],
  ['tensorflow:decay=0.25,num_updates=1', () => peers.tensorflow(0.25, 1)],
  ['tensorflow:decay=0.9,zero_debias=true', () => peers.optax(0.9, true)],
  ['keras', () => peers.keras(0.99)],
  ['torchtitan', () => peers.torchtitan({})],
  [
    'torchtitan:start_step=2,step_bias=3,update_every_n_steps=2',
    () => peers.torchtitan({ start: 2, bias: 3, every: 2 }),
  ],
  [
    'torchtitan:decay=0.9,start_step=1,update_every_n_steps=3',
    () => peers.torchtitan({ decay: 0.9, start: 1, every: 3 }),
  ],
  ['ultralytics', () => peers.ultralytics(0.9999, 2000)],
  ['ultralytics:decay=0.9,tau=4,updates=5', () => peers.ultralytics(0.9, 4, 5)],
  ['mmengine', () => peers.mmengine({ type: 'ema', momentum: 0.0002 })],
  ['mmengine:momentum=0.1', () => peers.mmengine({ type: 'ema', momentum: 0.1 })],
  ['mmengine:type=annealing,interval=2', () => peers.mmengine({ type: 'annealing', momentum: 0.0002, interval: 2 })],
  ['mmengine:type=swa,interval=2', () => peers.mmengine({ type: 'swa', momentum: 0, interval: 2 })],
  [
    'mmengine:momentum=0.1,interval=3,begin_iter=5',
    () => peers.mmengine({ type: 'ema', momentum: 0.1, interval: 3, beginIter: 5 }),
  ],
  ['mmengine:momentum=0.1,begin_iter=3', () => peers.mmengine({ type: 'ema', momentum: 0.1, beginIter: 3 })],
  ['mmengine:type=annealing,begin_iter=2', () => peers.mmengine({ type: 'annealing', momentum: 0.0002, beginIter: 2 })],
  ['k-diffusion', () => peers.kDiffusion({})],
  [
    'k-diffusion:power=0.75,min_value=0.1,max_value=0.5',
    () => peers.kDiffusion({ power: 0.75, minValue: 0.1, maxValue: 0.5 }),
  ],
  ['k-diffusion:start_at=2', () => peers.kDiffusion({ startAt: 2 })],
  ['fairseq', () => peers.fairseq({ decay: 0.9999 })],
  ['fairseq:ema_decay=0.9,ema_start_update=3', () => peers.fairseq({ decay: 0.9, start: 3 })],
  [
    'fairseq:ema_decay=0.9,ema_start_update=4,ema_update_freq=2',
    () => peers.fairseq({ decay: 0.9, start: 4, freq: 2 }),
  ],
];

describe('each preset moves as its peer does', () => {
  test.each(CASES)('%s', (text, peer) => {
    const [average] = parseAverage(text);
    expectClose(simulate(average!, 0, UPDATES), peer()(0, UPDATES));
    expectClose(simulate(average!, 0.5, LONG), peer()(0.5, LONG));
  });

  test('no peer was forgotten', () => {
    const tried = new Set(CASES.map(([text]) => text.split(':')[0]));
    const known = listPresets().filter(({ peer }) => peer !== undefined);
    expect(known.map(({ name }) => name).filter((name) => !tried.has(name))).toEqual([]);
  });

  test('in the phases that a longer run reaches', () => {
    const long = Array.from({ length: 300 }, (_, index) => Math.cos(index));
    const [average] = parseAverage('ema-pytorch');
    expectClose(simulate(average!, 0, long), peers.emaPytorch({ beta: 0.9999, after: 100, every: 10 })(0, long));
  });
});

/**
 * Values measured by running the peers' own packages with a decay of 0.9: some copy the first update, some blend it.
 */
const GOLDEN: readonly (readonly [name: string, texts: readonly string[], values: readonly number[]])[] = [
  [
    'a copy first',
    [
      'torch-ema:decay=0.9',
      'timm-v3:decay=0.9',
      'keras:ema_momentum=0.9',
      'composer:half_life=none,smoothing=0.9',
      'mmengine:momentum=0.1',
      'lightning:decay=0.9',
      'diffusers:decay=0.9,min_decay=0.9',
      'ema-pytorch:beta=0.9,min_value=0.9,update_after_step=0,update_every=1',
    ],
    [1, 1.1, 1.29, 1.561, 1.9049, 2.31441],
  ],
  [
    'a blend first',
    [
      'timm-v2:decay=0.9',
      'fadel-torch-ema:decay=0.9,use_num_updates=false',
      'nemo:decay=0.9',
      'fairseq:ema_decay=0.9',
      'optax:decay=0.9,debias=false',
      'textbook:decay=0.9',
    ],
    [0.1, 0.29, 0.561, 0.9049, 1.31441, 1.782969],
  ],
  [
    'inverse power',
    [
      'timm-v3:use_warmup=true',
      'diffusers:use_ema_warmup=true',
      'ema-pytorch:update_after_step=0,update_every=1',
      'k-diffusion:power=0.6666666666666666',
    ],
    [1, 1.629961, 2.288607, 2.967774, 3.662785, 4.370619],
  ],
  ['ratio from n = 1', ['fadel-torch-ema:decay=0.9'], [0.818182, 1.704545, 2.601399, 3.5005, 4.4002, 5.300087]],
  ['ratio after a copy', ['diffusers'], [1, 1.818182, 2.704545, 3.601399, 4.5005, 5.4002]],
  ['bias corrected', ['optax:decay=0.9'], [1, 1.526316, 2.070111, 2.631288, 3.209714, 3.805218]],
  ['plain average', ['torch-swa', 'mmengine:type=swa', 'k-diffusion'], [1, 1.5, 2, 2.5, 3, 3.5]],
  ['power function', ['edm2:stds=0.1'], [1, 1.99592, 2.959812, 3.893965, 4.81182, 5.720485]],
];

describe('the values that the peers were seen to give', () => {
  test.each(GOLDEN.flatMap(([name, texts, values]) => texts.map((text) => [name, text, values] as const)))(
    '%s: %s',
    (_name, text, values) => {
      const [average] = parseAverage(text);
      // The measured values were written down with six digits after the point.
      simulate(average!, 0, UPDATES).forEach((value, index) => {
        expect(Math.abs(value - values[index]!)).toBeLessThan(1e-6);
      });
    },
  );
});
