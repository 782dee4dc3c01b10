import { namePattern } from '../common/index.js';

/** A test for the tensors of an average: those that a pattern of `include` matches, or all, but none of `exclude`. */
export function selectTensors(filter: {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}): (name: string) => boolean {
  const [included, excluded] = [filter.include.map(namePattern), filter.exclude.map(namePattern)];
  return (name) => {
    const isIncluded = included.length === 0 || included.some((matches) => matches(name));
    return isIncluded && !excluded.some((matches) => matches(name));
  };
}
