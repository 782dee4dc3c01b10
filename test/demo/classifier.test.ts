import { describe, expect, test } from 'vitest';
import { Classifier, Sgd } from '../../src/demo/classifier.js';
import { type Digits, loadDigits, splitDigits } from '../../src/demo/digits.js';
import { seededRandom } from '../../src/demo/random.js';
import { BATCH_SIZE, createModel, LEARNING_RATE, MOMENTUM } from '../../src/demo/setup.js';

const { train, test: held } = splitDigits(loadDigits(), 1);

/** Three small images of five "pixels": what the finite differences below are computed on. */
const TINY: Digits = {
  count: 3,
  images: Float32Array.from({ length: 15 }, (_, index) => ((index * 7) % 11) / 11),
  labels: Uint8Array.of(0, 2, 1),
};

describe('Classifier', () => {
  test('names, shapes and views its parameters as one flat list', () => {
    const model = createModel(1);
    expect(model.parameters.map(({ name, shape }) => [name, shape])).toEqual([
      ['layers.0.weight', [64, 64]],
      ['layers.0.bias', [64]],
      ['layers.1.weight', [10, 64]],
      ['layers.1.bias', [10]],
    ]);
    expect(model.values.length).toBe(4810);
    model.values.fill(0.5);
    for (const { shape, values } of model.parameters) {
      expect(values.length).toBe(shape.reduce((product, extent) => product * extent));
      expect(values.every((value) => value === 0.5)).toBe(true);
    }
  });

  test.each([
    ['one hidden layer', [5, 4, 3]],
    ['two hidden layers', [5, 6, 4, 3]],
  ])('the gradients equal central differences: %s', (_, widths) => {
    const model = new Classifier(widths, seededRandom(11, 'weights'));
    const rows = Uint32Array.of(0, 1, 2, 1);
    model.lossAndGradients(TINY, rows);
    const gradients = model.gradients.slice();
    // The third derivative costs ε² ≈ 1e-4, the float32 activations about 1e-7 / ε = 1e-5.
    const epsilon = 2 ** -7;
    for (let index = 0; index < model.values.length; index += 1) {
      const value = model.values[index]!;
      model.values[index] = value + epsilon;
      const above = model.lossAndGradients(TINY, rows);
      model.values[index] = value - epsilon;
      const below = model.lossAndGradients(TINY, rows);
      model.values[index] = value;
      const difference = Math.abs((above - below) / (2 * epsilon) - gradients[index]!);
      expect(difference, `parameter ${index} of ${widths.join('-')}, seed 11`).toBeLessThan(2e-4);
    }
    expect(Math.max(...gradients.map(Math.abs))).toBeGreaterThan(0.05);
  });

  test('knows nothing before it is trained: the loss is near ln 10', () => {
    const rows = Uint32Array.from({ length: train.count }, (_, row) => row);
    expect(Math.abs(createModel(1).lossAndGradients(train, rows) - Math.log(10))).toBeLessThan(0.5);
  });

  test('the loss stays finite when the outputs are huge', () => {
    const model = createModel(1);
    model.values.fill(0);
    model.parameters.at(-1)!.values[3] = 3e38;
    const loss = model.lossAndGradients(train, Uint32Array.of(0, 1, 2));
    expect(loss).toBeGreaterThan(0);
    expect(model.gradients.every(Number.isFinite)).toBe(true);
  });
});

describe('training', () => {
  function trained(seed: number, learningRate: number, steps: number): Classifier {
    const model = createModel(seed);
    const sgd = new Sgd(model, learningRate, MOMENTUM);
    const random = seededRandom(seed, 'batches');
    for (let step = 0; step < steps; step += 1) {
      model.lossAndGradients(
        train,
        Uint32Array.from({ length: BATCH_SIZE }, () => random.below(train.count)),
      );
      sgd.step();
    }
    return model;
  }

  test('a modest learning rate classifies held-out digits', () => {
    expect(trained(1, 0.02, 400).accuracy(held)).toBeGreaterThan(0.93);
  });

  test('the same seed gives the same weights, bit for bit', () => {
    const bytes = (seed: number) => Buffer.from(trained(seed, LEARNING_RATE, 20).values.buffer);
    expect(bytes(9).equals(bytes(9))).toBe(true);
    expect(bytes(9).equals(bytes(8))).toBe(false);
  });
});
