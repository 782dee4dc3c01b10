/**
 * A hash of 32 bits, with one more number in it: its low 32 bits, each of which changes half of the hash's. Source: the
 * finalizer of MurmurHash3 (Appleby 2011).
 */
export function mixed(hash: number, value: number): number {
  let next = hash ^ value;
  next = Math.imul(next ^ (next >>> 16), 0x85ebca6b);
  next = Math.imul(next ^ (next >>> 13), 0xc2b2ae35);
  return next ^ (next >>> 16);
}
