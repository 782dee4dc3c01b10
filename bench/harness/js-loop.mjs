/*
 * The fold as anybody would write it in JavaScript. One function for each dtype of the weights, because a function that
 * sees several kinds of arrays is compiled to something slower.
 */

/** Views of `elements` weights that suit the loop of `dtype`, filled from float32 values. */
const weightsOf = {
  F32: (values) => values,
  F64: (values) => Float64Array.from(values),
  BF16: (values) => new Uint16Array(new Uint32Array(values.buffer).map((bits) => bits >>> 16)),
  // The codes are BF16's: they mean other numbers, but cost the same.
  F16: (values) => weightsOf.BF16(values),
};

/** 16-bit floats have no arrays in Node 20; a table of their 65,536 values is the fast way. */
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

/** A fold of all of `values` into a float32 shadow. */
export function jsFold(dtype, values) {
  const shadow = Float32Array.from(values);
  const weights = weightsOf[dtype](values);
  return (weight) => loops[dtype](shadow, weights, weight);
}
