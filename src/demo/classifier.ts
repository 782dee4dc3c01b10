import type { Digits } from './digits.js';
import type { Random } from './random.js';

/** One tensor of a model, with the name that PyTorch would give it. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** A view into the model's flat `values`. */
  readonly values: Float32Array;
}

interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  /** outputs × inputs, row-major. */
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly weightGradient: Float32Array;
  readonly biasGradient: Float32Array;
  /** The outputs of the last forward pass. */
  readonly activation: Float32Array;
  /** The gradient of the loss by the layer's outputs before their activation function. */
  readonly delta: Float32Array;
}

/**
 * A multi-layer perceptron: linear layers with tanh between them, and softmax cross entropy at the end. All stored
 * numbers are float32. The parameters lie one after another in `values`, and their gradients at the same places in
 * `gradients`.
 */
export class Classifier {
  readonly values: Float32Array;
  readonly gradients: Float32Array;
  readonly parameters: readonly Parameter[];
  private readonly layers: readonly Layer[];

  /** `widths` are the numbers of inputs, of units of each hidden layer, and of classes. */
  constructor(widths: readonly number[], random: Random) {
    const pairs = widths.slice(1).map((outputs, index) => ({ inputs: widths[index]!, outputs }));
    const size = pairs.reduce((sum, { inputs, outputs }) => sum + outputs * (inputs + 1), 0);
    this.values = new Float32Array(size);
    this.gradients = new Float32Array(size);
    let at = 0;
    const take = (count: number): [Float32Array, Float32Array] => {
      at += count;
      return [this.values.subarray(at - count, at), this.gradients.subarray(at - count, at)];
    };
    this.layers = pairs.map(({ inputs, outputs }) => {
      const [weight, weightGradient] = take(outputs * inputs);
      const [bias, biasGradient] = take(outputs);
      fillGlorot(weight, inputs, outputs, random);
      const [activation, delta] = [new Float32Array(outputs), new Float32Array(outputs)];
      return { inputs, outputs, weight, bias, weightGradient, biasGradient, activation, delta };
    });
    this.parameters = this.layers.flatMap(({ inputs, outputs, weight, bias }, index) => [
      { name: `layers.${index}.weight`, shape: [outputs, inputs], values: weight },
      { name: `layers.${index}.bias`, shape: [outputs], values: bias },
    ]);
  }

  /** Returns the mean cross entropy of the images `rows`, and leaves its gradient in `gradients`. */
  lossAndGradients(digits: Digits, rows: Uint32Array): number {
    this.gradients.fill(0);
    let loss = 0;
    for (const row of rows) {
      const image = this.inputOf(digits, row);
      const label = digits.labels[row]!;
      const { activation, delta } = this.forward(image);
      loss -= softmaxGradient(activation, label, 1 / rows.length, delta);
      this.backward(image);
    }
    return loss / rows.length;
  }

  /** The share of `digits` that are classified right. */
  accuracy(digits: Digits): number {
    let correct = 0;
    for (let row = 0; row < digits.count; row += 1) {
      if (this.classify(this.inputOf(digits, row)) === digits.labels[row]) correct += 1;
    }
    return correct / digits.count;
  }

  classify(image: Float32Array): number {
    const outputs = this.forward(image).activation;
    let best = 0;
    for (let label = 1; label < outputs.length; label += 1) if (outputs[label]! > outputs[best]!) best = label;
    return best;
  }

  private inputOf(digits: Digits, row: number): Float32Array {
    const { inputs } = this.layers[0]!;
    return digits.images.subarray(row * inputs, (row + 1) * inputs);
  }

  private forward(image: Float32Array): Layer {
    let input = image;
    const last = this.layers.at(-1)!;
    for (const layer of this.layers) {
      for (let output = 0; output < layer.outputs; output += 1) {
        const start = output * layer.inputs;
        let sum = layer.bias[output]!;
        for (let index = 0; index < layer.inputs; index += 1) sum += layer.weight[start + index]! * input[index]!;
        layer.activation[output] = layer === last ? sum : Math.tanh(sum);
      }
      input = layer.activation;
    }
    return last;
  }

  /** Adds the gradient of one image to `gradients`. The last layer's `delta` must be set. */
  private backward(image: Float32Array): void {
    for (let at = this.layers.length - 1; at >= 0; at -= 1) {
      const layer = this.layers[at]!;
      const below = this.layers[at - 1];
      const input = below?.activation ?? image;
      below?.delta.fill(0);
      for (let output = 0; output < layer.outputs; output += 1) {
        const delta = layer.delta[output]!;
        const start = output * layer.inputs;
        layer.biasGradient[output]! += delta;
        for (let index = 0; index < layer.inputs; index += 1) {
          layer.weightGradient[start + index]! += delta * input[index]!;
          if (below) below.delta[index]! += delta * layer.weight[start + index]!;
        }
      }
      // tanh' = 1 − tanh².
      if (below) for (let index = 0; index < below.outputs; index += 1) below.delta[index]! *= 1 - input[index]! ** 2;
    }
  }
}

/** Fills weights with uniform numbers of variance 2 / (inputs + outputs), which tanh needs (Glorot and Bengio 2010). */
function fillGlorot(weight: Float32Array, inputs: number, outputs: number, random: Random): void {
  const limit = Math.sqrt(6 / (inputs + outputs));
  for (let index = 0; index < weight.length; index += 1) weight[index] = (2 * random.uniform() - 1) * limit;
}

/** Puts scale · (softmax − one-hot) into `delta` and returns the log probability of `label`. */
function softmaxGradient(outputs: Float32Array, label: number, scale: number, delta: Float32Array): number {
  // The outputs are shifted by the largest one, so that exp cannot overflow.
  const largest = outputs.reduce((max, value) => Math.max(max, value));
  const total = outputs.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  for (let index = 0; index < outputs.length; index += 1) {
    const probability = Math.exp(outputs[index]! - largest) / total;
    delta[index] = scale * (probability - (index === label ? 1 : 0));
  }
  return outputs[label]! - largest - Math.log(total);
}

/** Stochastic gradient descent with momentum: v = momentum · v + g, values −= learningRate · v. */
export class Sgd {
  private readonly velocity: Float32Array;

  constructor(
    private readonly model: Classifier,
    private readonly learningRate: number,
    private readonly momentum: number,
  ) {
    this.velocity = new Float32Array(model.values.length);
  }

  step(): void {
    const { values, gradients } = this.model;
    for (let index = 0; index < values.length; index += 1) {
      this.velocity[index] = this.momentum * this.velocity[index]! + gradients[index]!;
      values[index]! -= this.learningRate * this.velocity[index]!;
    }
  }
}
