/** Throws when an invariant of ours is broken: a bug here, never bad input. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${invariant}`);
}

/** For the `default` of an exhaustive switch. */
export function assertNever(value: never): never {
  throw new Error(`broken invariant: unexpected value ${String(value)}`);
}
