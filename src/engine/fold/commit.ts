import type { Advance, AverageSpec } from '../averages/index.js';
import type { Layout } from '../layout/layout.js';
import { choiceOf, isFiltered } from '../layout/tensor-filter.js';
import { planningWire, type WirePlan } from '../layout/wire-plan.js';
import type { Page } from '../memory/page-pool.js';
import type { SnapshotPlan } from '../post-hoc/index.js';
import { copyElements } from '../read/read.js';
import type { AverageState, Shadow, Version } from '../versions/version.js';
import { copyBases, type FoldTarget, foldStep } from './fold.js';

/** Says what a commit does. All of it is decided before the first byte is folded. */
export interface CommitPlan {
  /** One target for each average, then the target of the copied plane. */
  readonly targets: readonly FoldTarget[];
  readonly advances: readonly Advance[];
  readonly snapshots: SnapshotPlan;
  /** Tensors that keep their shadows, where they have one, by their index in the layout. */
  readonly skipped: ReadonlySet<number>;
  /** Whether the tensors of policy COPY_ONCE are in this step. */
  readonly isFirst: boolean;
  /** Set when the step was folded as it arrived. */
  readonly exchange: Exchange | undefined;
}

/** Staging pages that become the pages of a shadow at the flip, because the step was folded on them. */
export interface Exchange {
  /** Undefined when the average was removed meanwhile and nothing is exchanged. */
  readonly target: FoldTarget | undefined;
  /**
   * For each page of the old table: undefined when the page becomes a staging page, or the page that does so because
   * readers hold the old one.
   */
  readonly replacements: readonly (Page | undefined)[];
}

/** Returns a function that says which averages fold a tensor, given by index: a bit for each average. */
function averagesOfTensor(layout: Layout, shadows: readonly Shadow[]): (tensor: number) => number {
  const takers = shadows.map(({ spec }) => choiceOf(layout.tensors, spec));
  return (tensor) => takers.reduce((bits, isTaken, index) => (isTaken(tensor) ? bits | (1 << index) : bits), 0);
}

/**
 * Says which averages get their first content by assignment, a bit for each by its index. There is no shadow yet that a
 * skipped tensor could keep, and an assignment spreads no NaN to other elements, so that their weights are taken as they
 * are.
 */
function beginningAverages(shadows: readonly Shadow[], advances: readonly Advance[]): number {
  return shadows.reduce((bits, { state }, index) => {
    return state.weight === undefined && advances[index]?.weight === 1 ? bits | (1 << index) : bits;
  }, 0);
}

/** Makes plans of the byte space that say which averages fold what. The last plan is kept, because steps are alike. */
export class FoldPlans {
  readonly #layout: Layout;
  #last: { readonly own: WirePlan; readonly specs: readonly AverageSpec[]; readonly plan: WirePlan } | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /**
   * Returns the writers' plan, or one of its own when averages leave tensors out or tensors are skipped. Yields between
   * slices.
   */
  *planFor(own: WirePlan, shadows: readonly Shadow[], { skipped, advances }: CommitPlan): Generator<void, WirePlan> {
    const specs = shadows.map(({ spec }) => spec);
    const isWhole = !specs.some(isFiltered);
    if (isWhole && skipped.size === 0) return own;
    if (skipped.size > 0) {
      const averagesOf = averagesOfTensor(this.#layout, shadows);
      const beginning = beginningAverages(shadows, advances);
      return yield* planningWire(this.#layout, own.wireDType, (tensor) =>
        skipped.has(tensor) ? averagesOf(tensor) & beginning : averagesOf(tensor),
      );
    }
    const last = this.#last;
    if (last?.own === own && last.specs.length === specs.length && last.specs.every((spec, i) => spec === specs[i])) {
      return last.plan;
    }
    const plan = yield* planningWire(this.#layout, own.wireDType, averagesOfTensor(this.#layout, shadows));
    this.#last = { own, specs, plan };
    return plan;
  }
}

/** Does the whole fold of a commit, in slices. */
export function* foldCommit(
  wire: WirePlan,
  staging: readonly Page[],
  { targets, skipped, isFirst, snapshots, exchange }: CommitPlan,
  pageBytes: number,
  yieldElements: number | undefined,
): Generator<void> {
  if (exchange !== undefined) {
    // A tensor that was folded on its way and is to be skipped gets its old shadow back.
    if (exchange.target !== undefined) {
      const { plane, base, target } = exchange.target;
      yield* copyElements(wire.layout, skipped, { plane, table: base }, { plane, table: target });
    }
    yield* snapshots.fill;
    return;
  }
  if (skipped.size > 0) yield* copyBases(targets, pageBytes);
  // A fresh page of copied tensors may hold tensors that are not in this step.
  else if (!isFirst && wire.onceSegments.length > 0) yield* copyBases(targets.slice(-1), pageBytes);
  yield* foldStep(wire.segments, staging, pageBytes, targets, yieldElements);
  if (isFirst) yield* foldStep(wire.onceSegments, staging, pageBytes, targets, yieldElements);
  yield* snapshots.fill;
}

/** The averages after a commit. */
export function foldedShadows(head: Version, { advances, targets }: CommitPlan): Shadow[] {
  return head.shadows.map((shadow, index) => {
    const { progress, weight } = advances[index] ?? { progress: shadow.state, weight: 0 };
    const target = targets[index];
    const { addedAtStep } = shadow.state;
    const movement = weight === 0 ? shadow.state.movement : target?.meter?.movement;
    const state: AverageState = { ...progress, movement, addedAtStep };
    return { ...shadow, state, table: target?.target ?? shadow.table };
  });
}
