/**
 * The peers' algorithms, written again in float64 and in each one's own form: d·s + (1 − d)·p, with a decay d of its
 * own counters. `updates` are p_1, p_2 …, and `initial` is what the peer's model held when it was constructed.
 */
export type Peer = (initial: number, updates: readonly number[]) => number[];

const blend = (decay: number, shadow: number, value: number) => decay * shadow + (1 - decay) * value;

/** Makes a peer from a function that is called with the shadow and each update. */
function follow(step: (shadow: number, value: number, k: number) => number): Peer {
  return (initial, updates) => {
    let shadow = initial;
    return updates.map((value, index) => {
      shadow = step(shadow, value, index + 1);
      return shadow;
    });
  };
}

/** torch's AveragedModel, whose n_averaged decides that the first update copies. */
export function averagedModel(average: (shadow: number, value: number, count: number) => number): Peer {
  let averaged = 0;
  return follow((shadow, value) => {
    averaged += 1;
    return averaged === 1 ? value : average(shadow, value, averaged - 1);
  });
}

export const torchEma = (decay: number) => averagedModel((shadow, value) => blend(decay, shadow, value));
export const torchSwa = () => averagedModel((shadow, value, count) => shadow + (value - shadow) / (count + 1));
export const blendFirst = (decay: number) => follow((shadow, value) => blend(decay, shadow, value));

interface TimmOptions {
  decay: number;
  minDecay?: number;
  after?: number;
  gamma?: number;
  power?: number;
  isWarmingUp?: boolean;
}

export function timmV3({ decay, minDecay = 0, after = 0, gamma = 1, power = 2 / 3, isWarmingUp = false }: TimmOptions) {
  const decayAt = (step: number) => {
    const n = Math.max(0, step - after - 1);
    if (n <= 0) return 0;
    return isWarmingUp ? Math.max(Math.min(1 - (1 + n / gamma) ** -power, decay), minDecay) : decay;
  };
  return follow((shadow, value, step) => blend(decayAt(step), shadow, value));
}

interface EmaPytorchOptions {
  beta: number;
  after: number;
  every: number;
  minValue?: number;
}

export function emaPytorch({ beta, after, every, minValue = 0 }: EmaPytorchOptions): Peer {
  let [step, isInitialized] = [0, false];
  return follow((shadow, value) => {
    const before = step;
    step += 1;
    if (!isInitialized) {
      isInitialized = true;
      return value;
    }
    if (before % every !== 0) return shadow;
    if (before <= after) return value;
    if (beta === 1) return shadow;
    const epoch = Math.max(0, step - after - 1);
    const decay = epoch <= 0 ? 0 : Math.min(Math.max(1 - (1 + epoch) ** (-2 / 3), minValue), beta);
    return shadow + (1 - decay) * (value - shadow);
  });
}

export function fadelTorchEma(decay: number, usesCount: boolean): Peer {
  let updates = 0;
  return follow((shadow, value) => {
    updates += 1;
    const now = usesCount ? Math.min(decay, (1 + updates) / (10 + updates)) : decay;
    return shadow - (1 - now) * (shadow - value);
  });
}

export function diffusers(options: { decay: number; minDecay?: number; after?: number; isPower?: boolean }): Peer {
  const { decay, minDecay = 0, after = 0, isPower = false } = options;
  return follow((shadow, value, step) => {
    const n = Math.max(0, step - after - 1);
    const warm = isPower ? 1 - (1 + n) ** (-2 / 3) : (1 + n) / (10 + n);
    const now = n <= 0 ? 0 : Math.max(Math.min(warm, decay), minDecay);
    return shadow - (1 - now) * (shadow - value);
  });
}

export function lightning(options: { decay: number; every?: number; startAt?: number }): Peer {
  const { decay, every = 1, startAt = 0 } = options;
  let averaged = 0;
  return follow((shadow, value, k) => {
    const stepIndex = k - 1;
    if (stepIndex < startAt || stepIndex % every !== 0) return shadow;
    averaged += 1;
    return averaged === 1 ? value : blend(decay, shadow, value);
  });
}

/** Composer's EMA, which has no average before it clones the model. */
export function composer(options: { smoothing: number; every?: number; startAt?: number }): Peer {
  const { smoothing, every = 1, startAt = 0 } = options;
  let isStarted = false;
  return follow((shadow, value, batch) => {
    let [clone, isCloned] = [shadow, isStarted];
    if (!isStarted && startAt <= batch) [clone, isCloned] = [value, true];
    isStarted = isCloned;
    if (!isStarted) return Number.NaN;
    return batch % every === 0 ? clone * smoothing + (1 - smoothing) * value : clone;
  });
}

export function nemo(decay: number, every = 1): Peer {
  let currentStep = 0;
  return follow((shadow, value) => {
    const isTouched = currentStep % every === 0;
    currentStep += 1;
    return isTouched ? blend(decay, shadow, value) : shadow;
  });
}

/** EDM2's power function, which counts images: `batch` of them at each update. */
export function edm2Power(gamma: number, batch: number): Peer {
  return follow((shadow, value, k) => blend((1 - batch / (k * batch)) ** (gamma + 1), shadow, value));
}

export function edm2Traditional(halfLifeMimg: number, ratio: number | null, batch: number): Peer {
  return follow((shadow, value, k) => {
    const halfLife = Math.min(halfLifeMimg * 1e6, ratio === null ? Number.POSITIVE_INFINITY : ratio * k * batch);
    return blend(0.5 ** (batch / Math.max(halfLife, 1e-8)), shadow, value);
  });
}

/** optax.ema, which keeps the moment with its bias, and divides what it puts out. */
export function optax(decay: number, isDebiasing: boolean): Peer {
  return (_initial, updates) => {
    let moment = 0;
    return updates.map((value, index) => {
      moment = (1 - decay) * value + decay * moment;
      return isDebiasing ? moment / (1 - decay ** (index + 1)) : moment;
    });
  };
}

export function tensorflow(decay: number, firstNumUpdates: number): Peer {
  return follow((shadow, value, k) => {
    const numUpdates = firstNumUpdates + k - 1;
    return shadow - (1 - Math.min(decay, (1 + numUpdates) / (10 + numUpdates))) * (shadow - value);
  });
}

export function keras(momentum: number): Peer {
  return follow((shadow, value, k) => {
    const iterations = k - 1;
    return blend(iterations === 0 ? 0 : momentum, shadow, value);
  });
}

export function torchtitan(options: { decay?: number; start?: number; every?: number; bias?: number }): Peer {
  const { decay, start = 0, every = 1, bias = 0 } = options;
  return follow((shadow, value, step) => {
    const elapsed = step - start;
    if (elapsed < every || elapsed % every !== 0) return shadow;
    const numUpdates = elapsed / every + bias;
    return shadow + (1 - (decay ?? 2 ** (-1 / (0.05 * numUpdates)))) * (value - shadow);
  });
}

export function ultralytics(decay: number, tau: number, before = 0): Peer {
  let updates = before;
  return follow((shadow, value) => {
    updates += 1;
    return blend(decay * (1 - Math.exp(-updates / tau)), shadow, value);
  });
}

export function mmengine(options: {
  type: 'ema' | 'annealing' | 'swa';
  momentum: number;
  interval?: number;
  beginIter?: number;
}): Peer {
  const { type, momentum, interval = 1, beginIter = 0 } = options;
  let steps = 0;
  return follow((shadow, value, k) => {
    const iter = k - 1;
    if (iter + 1 < beginIter) return value;
    const now = steps;
    steps += 1;
    if (now % interval !== 0) return shadow;
    if (now === 0) return value;
    if (type === 'swa') return shadow + (value - shadow) / (Math.floor(now / interval) + 1);
    const weight = type === 'ema' ? momentum : Math.max(momentum, 100 / (100 + now));
    return shadow * (1 - weight) + value * weight;
  });
}

export function kDiffusion(options: { power?: number; minValue?: number; maxValue?: number; startAt?: number }): Peer {
  const { power = 1, minValue = 0, maxValue = 1, startAt = 0 } = options;
  let lastEpoch = 0;
  return follow((shadow, value) => {
    const epoch = Math.max(0, lastEpoch - startAt);
    const decay = Math.min(maxValue, Math.max(minValue, 1 - (1 + epoch) ** -power));
    lastEpoch += 1;
    return blend(decay, shadow, value);
  });
}

export function fairseq(options: { decay: number; start?: number; freq?: number }): Peer {
  const { decay, start = 0, freq = 1 } = options;
  let counter = 0;
  return follow((shadow, value, updates) => {
    const now = updates < start ? 0 : decay;
    counter += 1;
    if (counter < freq) return shadow;
    counter = 0;
    return blend(now, shadow, value);
  });
}
