/**
 * Mixes the low 32 bits of a number into a hash of 32 bits. Each of these bits changes about half of the bits of the
 * hash. Source: the finalizer of MurmurHash3 (Appleby 2011).
 */
export function mixed(hash: number, value: number): number {
  let next = hash ^ value;
  next = Math.imul(next ^ (next >>> 16), 0x85ebca6b);
  next = Math.imul(next ^ (next >>> 13), 0xc2b2ae35);
  return next ^ (next >>> 16);
}
