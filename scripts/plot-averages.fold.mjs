// Runs a rule through the engine's own schedule code on one number, in float64.

/** An update counts as folded when it moved the schedule; copies and holds of a delay or of `every` do not. */
export function* pushes(engine, rule, stepOf = (i) => i) {
  const average = { ...engine.AVERAGE_DEFAULTS, name: 'documented', ...rule };
  let progress = engine.NO_PROGRESS;
  if (average.start === 'INITIAL') progress = engine.advanceInitial(average, progress, 0).progress;
  for (let i = 1; ; i++) {
    const next = engine.advanceUpdate(average, progress, stepOf(i));
    const isFolded = next.progress.numUpdates > progress.numUpdates;
    yield { i, weight: next.weight, isFolded, k: next.progress.numUpdates };
    progress = next.progress;
  }
}

/** The first folds of p_0 = 0 and p_t = t: k, t, n, w_k and the shadow after each. */
export function firstFolds(engine, rule, count = 6) {
  const rows = [];
  let shadow = 0;
  for (const { i, k, weight, isFolded } of pushes(engine, rule)) {
    // An assignment is none of arithmetic.
    shadow = weight === 1 ? i : shadow + weight * (i - shadow);
    if (isFolded) rows.push({ k, t: i, n: indexOf(rule, i, k), weight, shadow });
    if (rows.length === count) return rows;
  }
}

function indexOf({ firstIndex = 0, indexUnit, decayUnit, delayUpdates = 0 }, i, k) {
  const counted = indexUnit === 'PUSHES' || decayUnit === 'PER_STEP' ? i - delayUpdates : k;
  return firstIndex + counted - 1;
}

/**
 * What is left of each update in the shadow after `total` of them.
 *
 * @returns {{ weights: Float64Array, start: number }} weights[i − 1] of update i; the share of what the shadow was before
 */
export function effectiveWeights(engine, rule, total, stepOf) {
  const folded = new Float64Array(total);
  for (const { i, weight } of pushes(engine, rule, stepOf)) {
    folded[i - 1] = weight;
    if (i === total) break;
  }
  const weights = new Float64Array(total);
  let left = 1;
  for (let i = total; i >= 1; i--) {
    weights[i - 1] = left * folded[i - 1];
    left *= 1 - folded[i - 1];
  }
  return { weights, start: left };
}

/** Mean age of the updates in the shadow (the newest has age 0), and how many of the newest hold half of the whole. */
export function summary({ weights, start }) {
  const total = weights.length;
  const share = 1 - start;
  const meanAge = weights.reduce((sum, weight, index) => sum + weight * (total - 1 - index), 0) / share;
  let half = 0;
  let newest = 0;
  // A half that is one but for roundings is one.
  const enough = 0.5 - 1e-9;
  while (half < enough && newest < total) half += weights[total - ++newest];
  return { meanAge, newest: half < enough ? undefined : newest };
}

/** Mean position and standard deviation of the profile over the trainer's steps, relative to the last one. */
export function moments(weights, stepOf) {
  const last = stepOf(weights.length);
  const sum = (f) => weights.reduce((total, weight, index) => total + weight * f(stepOf(index + 1) / last), 0);
  const mean = sum((position) => position);
  return { mean, deviation: Math.sqrt(sum((position) => (position - mean) ** 2)) };
}
