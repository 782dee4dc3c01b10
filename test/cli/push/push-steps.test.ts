import { describe, expect, test } from 'vitest';
import { stepsOf } from '../../../src/cli/push/push-steps.js';

function file(path: string, metadata: Record<string, string> = {}) {
  return { path, metadata: new Map(Object.entries(metadata)), dataBegin: 0, fileBytes: 0, tensors: [] };
}

describe('the steps of files', () => {
  test('count from --step', () => {
    expect(stepsOf([file('a.safetensors'), file('b_9.safetensors')], 7)).toEqual([7, 8]);
  });

  test.each([
    ['step_000100.safetensors', 100],
    ['/runs/v2/model-100.safetensors', 100],
    ['100.safetensors', 100],
    ['unet.step7.safetensors', 7],
    ['Iter20.safetensors', 20],
  ])('%s says its step', (path, step) => {
    expect(stepsOf([file(path)], undefined)).toEqual([step]);
  });

  test('metadata goes before the name', () => {
    expect(stepsOf([file('step_1.safetensors', { step: '12' })], undefined)).toEqual([12]);
  });

  test.each([
    [[file('model_v2.safetensors')], /neither the metadata nor the name of model_v2/],
    [[file('model.safetensors', { step: 'twelve' })], /neither the metadata/],
    [[file('99999999999999999999.safetensors')], /neither the metadata/],
    [[file('model-00001-of-00002.safetensors')], /one shard of a checkpoint/],
    [[file('2.safetensors'), file('1.safetensors')], /steps must rise: 1.safetensors is step 1, after step 2/],
    [[file('1.safetensors'), file('01.safetensors')], /steps must rise/],
  ])('%# is refused', (files, message) => {
    expect(() => stepsOf(files, undefined)).toThrow(message);
  });
});
