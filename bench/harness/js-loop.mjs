/*
 * A fold in plain JavaScript. There is one function for each dtype of the weights, because V8 compiles a function that sees
 * several kinds of arrays to slower code.
 */

/** For each dtype: the array of weights that its loop reads, made from float32 values. */
const weightsOf = {
  F32: (values) => values,
  F64: (values) => Float64Array.from(values),
  BF16: (values) => new Uint16Array(new Uint32Array(values.buffer).map((bits) => bits >>> 16)),
  // The codes are those of BF16. They mean other numbers in F16, but cost the same.
  F16: (values) => weightsOf.BF16(values),
};

/** The values of all 65,536 codes of a 16-bit float. Node 20 has no array of such floats, and a table is fastest. */
const widened = new Float32Array(Uint32Array.from({ length: 65_536 }, (_, code) => code << 16).buffer);

const loops = {
  F32(shadow, weights, weight) {
    for (let i = 0; i < shadow.length; i++) shadow[i] += weight * (weights[i] - shadow[i]);
  },
  F64(shadow, weights, weight) {
    for (let i = 0; i < shadow.length; i++) shadow[i] += weight * (weights[i] - shadow[i]);
  },
  BF16(shadow, weights, weight) {
    for (let i = 0; i < shadow.length; i++) shadow[i] += weight * (widened[weights[i]] - shadow[i]);
  },
  F16(shadow, weights, weight) {
    for (let i = 0; i < shadow.length; i++) shadow[i] += weight * (widened[weights[i]] - shadow[i]);
  },
};

/** Makes a function that folds all of `values` into a float32 shadow. */
export function jsFold(dtype, values) {
  const shadow = Float32Array.from(values);
  const weights = weightsOf[dtype](values);
  return (weight) => loops[dtype](shadow, weights, weight);
}
