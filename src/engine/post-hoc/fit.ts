import { assert } from '../../common/index.js';

/** The profile of a power-function average: weights proportional to τ^gamma from 0 to `time`, their sum is 1. */
export interface Profile {
  readonly gamma: number;
  readonly time: number;
}

export interface Fit {
  /** One for each input; their sum is 1. */
  readonly weights: readonly number[];
  /** Distance of the combined profile from the target's, relative to the target's norm. */
  readonly error: number;
}

/**
 * Inner product of two profiles: ∫ p_a p_b dτ from 0 to the earlier time, (γa + 1)(γb + 1) r^e / ((γa + γb + 1) max(ta, tb))
 * with r = ta / tb and e = γb where ta < tb, else −γa. Source: Karras et al. 2023, eq. 134 and algorithm 3.
 */
export function profileProduct(a: Profile, b: Profile): number {
  const exponent = a.time < b.time ? b.gamma : -a.gamma;
  const overlap = (a.time / b.time) ** exponent;
  return ((a.gamma + 1) * (b.gamma + 1) * overlap) / ((a.gamma + b.gamma + 1) * Math.max(a.time, b.time));
}

/**
 * The least-squares combination of profiles that is nearest to `target`: solves A X = B for the inner products A of the
 * inputs and B of each with the target, then divides by the sum of X, so that a model that never changed comes out as it
 * is. Source: algorithm 3 there; NVlabs/edm2 does the same.
 */
export function fitProfiles(inputs: readonly Profile[], target: Profile): Fit {
  assert(inputs.length > 0, 'a combination has inputs');
  // An input that is the target needs no others, and the nearly singular system of its neighbours no solving.
  const same = inputs.findIndex((input) => input.gamma === target.gamma && input.time === target.time);
  if (same >= 0) return { weights: inputs.map((_, index) => (index === same ? 1 : 0)), error: 0 };
  const products = inputs.map((a) => inputs.map((b) => profileProduct(a, b)));
  const targets = inputs.map((input) => profileProduct(input, target));
  const solved = solve(products, targets);
  const sum = solved.reduce((total, value) => total + value, 0);
  const weights = solved.map((value) => value / sum);
  return { weights, error: distance(products, targets, weights, profileProduct(target, target)) };
}

/** ‖target − Σ w_i p_i‖ / ‖target‖, from inner products; roundings can make the square a little negative. */
function distance(
  products: readonly (readonly number[])[],
  targets: readonly number[],
  weights: readonly number[],
  norm2: number,
): number {
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
  const combined2 = dot(
    weights,
    products.map((row) => dot(row, weights)),
  );
  return Math.sqrt(Math.max(0, norm2 - 2 * dot(targets, weights) + combined2) / norm2);
}

/** Solves a square system by Gaussian elimination with partial pivoting. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, index) => [...row, right[index] ?? 0]);
  const size = rows.length;
  for (let column = 0; column < size; column++) {
    let pivot = column;
    for (let row = column + 1; row < size; row++) {
      if (Math.abs(at(rows, row, column)) > Math.abs(at(rows, pivot, column))) pivot = row;
    }
    [rows[column], rows[pivot]] = [rowAt(rows, pivot), rowAt(rows, column)];
    for (let row = column + 1; row < size; row++) {
      addRow(rowAt(rows, row), rowAt(rows, column), -at(rows, row, column) / at(rows, column, column), column);
    }
  }
  const solution = new Array<number>(size).fill(0);
  for (let row = size - 1; row >= 0; row--) {
    let rest = at(rows, row, size);
    for (let column = row + 1; column < size; column++) rest -= at(rows, row, column) * (solution[column] ?? 0);
    solution[row] = rest / at(rows, row, row);
  }
  return solution;
}

function addRow(target: number[], source: readonly number[], factor: number, from: number): void {
  for (let index = from; index < target.length; index++) {
    target[index] = (target[index] ?? 0) + factor * (source[index] ?? 0);
  }
}

function rowAt(rows: readonly number[][], index: number): number[] {
  const row = rows[index];
  assert(row !== undefined, 'the system is square');
  return row;
}

function at(rows: readonly number[][], row: number, column: number): number {
  return rowAt(rows, row)[column] ?? 0;
}
