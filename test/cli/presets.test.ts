import { describe, expect, test } from 'vitest';
import { listPresets } from '../../src/client/index.js';
import { runInProcess } from './run-in-process.js';

async function presets(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await runInProcess(['presets', ...args]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

describe('presets', () => {
  test('lists every preset with its options, defaults and rule', async () => {
    const text = await presets();
    expect(text).toMatchSnapshot();
    for (const { name, options } of listPresets()) {
      expect(text).toMatch(new RegExp(`^${name}(:|$)`, 'm'));
      for (const option of options) expect(text).toContain(`  ${option.name}`);
    }
  });

  test('as JSON', async () => {
    const listed = JSON.parse(await presets('--json')) as { name: string }[];
    expect(listed).toHaveLength(listPresets().length);
    expect(listed[1]).toEqual({
      name: 'torch-ema',
      peer: 'torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay)',
      buffers: 'copy',
      rule: 'constant decay, start FIRST',
      options: [
        { name: 'decay', default: '0.999', bound: 'a number from 0 to 1' },
        expect.objectContaining({ name: 'device', note: expect.stringContaining('no effect') }),
        expect.objectContaining({ name: 'use_buffers', default: 'false', note: expect.stringContaining('buffers') }),
      ],
    });
  });

  test.each([
    [
      'ema=timm-v3:decay=0.9998,use_warmup=true',
      'ema      inverse_power(inv_gamma 1, power 0.666667, decay_min 0, decay_max 0.9998), start FIRST, n from 0, precision F32, from timm-v3:decay=0.9998,use_warmup=true',
    ],
    [
      'ema-pytorch:precision=F64,include=layer*,exclude=*.bias',
      'ema-pytorch  inverse_power(inv_gamma 1, power 0.666667, decay_min 0, decay_max 0.9999), start FIRST, copies for 100 updates, at updates 1, 11 …, n from 0 counts all updates, precision F64, only layer*, without *.bias, from ema-pytorch',
    ],
    [
      'torchtitan:start_step=4,update_every_n_steps=2',
      'torchtitan  half_life_fraction(fraction 0.05), start INITIAL, holds for 4 updates, at updates 2, 4 …, n from 1, precision F32, from torchtitan:start_step=4,update_every_n_steps=2',
    ],
    [
      'o=optax:decay=0.99',
      'o        constant(decay 0.99), bias corrected, start ZEROS, precision F32, from optax:decay=0.99',
    ],
    [
      'p=power-function:sigma_rel=0.1,decay_unit=PER_STEP',
      "p        power_function(sigma_rel 0.1), start FIRST, per trainer's step, precision F32",
    ],
    ['mean', 'mean     mean, start FIRST, precision F32'],
  ])('%s in words', async (text, expected) => {
    expect((await presets(text)).trimEnd().split('\n')[1]).toBe(expected);
  });

  test('an expansion as JSON has the names of the proto in its JSON, and its order, and no defaults', async () => {
    expect(await presets('--json', 'edm2')).toBe(
      `[{"name":"edm2-0.05","start":"FIRST","decayUnit":"PER_STEP","preset":"edm2","powerFunction":{"sigmaRel":0.05}},` +
        `{"name":"edm2-0.1","start":"FIRST","decayUnit":"PER_STEP","preset":"edm2","powerFunction":{"sigmaRel":0.1}}]\n`,
    );
    expect(await presets('--json', 'lightning:update_every_n_steps=2,precision=F64,update_starting_at_step=1')).toBe(
      `[{"name":"lightning","start":"FIRST","precision":"F64","delayUpdates":1,"delayMode":"HOLD_UNTIL","every":2,` +
        `"preset":"lightning:update_every_n_steps=2,update_starting_at_step=1","constant":{"decay":0.999},"everyOffset":1}]\n`,
    );
    expect(await presets('--json', 'constant:decay=0')).toBe('[{"name":"constant","start":"FIRST","constant":{}}]\n');
    expect(await presets('--json', 'g=power-function:gamma=0,include=w')).toBe(
      '[{"name":"g","start":"FIRST","include":["w"],"powerFunction":{"gamma":0}}]\n',
    );
    expect(await presets('--json', 'ultralytics:name=u')).toBe(
      '[{"name":"u","start":"INITIAL","preset":"ultralytics","exponentialRamp":{"decay":0.9999,"tau":2000},"firstIndex":1}]\n',
    );
  });
});
