import { quote, ShadowkeepError } from '../../common/index.js';
import {
  planCombination,
  planRead,
  type ReadPlan,
  type Run,
  type Selection,
  type Shadow,
  servedBoxes,
  servedBy,
  type Version,
} from '../../engine/index.js';
import type { GetShadowResponse } from '../../protocol/index.js';
import { type GetShadow, movementMessage, selectNames, validateReadBoxes } from '../messages/index.js';

type Header = NonNullable<GetShadowResponse['header']>;

/** What a read of one version sends. */
export interface PlannedShadow {
  readonly plan: ReadPlan;
  /** The header's fields of the average or combination; those of the version are added when it is sent. */
  readonly header: Pick<
    Header,
    'average' | 'step' | 'num_updates' | 'weight' | 'movement' | 'contributions' | 'fit_error'
  >;
}

/**
 * The tensors or boxes of a run that a read asks for; no commit changes which they are. Yields between slices. Throws
 * AVERAGE_NOT_FOUND, and INVALID_FIELD for a pattern that matches nothing or a box outside of its tensor.
 */
export function* selectShadow(run: Run, request: GetShadow): Generator<void, Selection> {
  const { layout } = run;
  const shadow = request.gamma === undefined ? findAverage(run, run.head, request.average) : undefined;
  const { boxes } = request;
  if (boxes !== undefined) {
    yield* validateReadBoxes(boxes, layout.tensors);
    // The boxes of a combination are checked when the version is known, because what it serves depends on the version.
    if (shadow !== undefined) yield* servedBoxes(layout, shadow.spec, boxes);
    return boxes;
  }
  const isServed =
    shadow === undefined
      ? (index: number) => layout.tensors.policyOf(index) !== 'IGNORE'
      : servedBy(layout, shadow.spec);
  return yield* selectNames(request.names, layout.tensors, isServed);
}

/**
 * Plans which bytes of a version a read sends. Yields between slices. Throws AVERAGE_NOT_FOUND, INVALID_FIELD for a
 * box, NOTHING_TO_COMBINE, VERSION_NOT_FOUND.
 */
export function* planShadow(
  run: Run,
  version: Version,
  request: GetShadow,
  selection: Selection,
): Generator<void, PlannedShadow> {
  return request.gamma === undefined
    ? yield* planAverage(run, version, request, selection)
    : yield* planCombined(run, version, request, selection, request.gamma);
}

/**
 * Whether the requested average has begun in a version. An average that was just added is missing in older versions,
 * and empty until its first update. Throws AVERAGE_NOT_FOUND when the run has no average of that name now.
 */
export function isReadable(run: Run, version: Version, request: GetShadow): boolean {
  if (request.gamma !== undefined) return true;
  const { spec } = findAverage(run, run.head, request.average);
  // An older version may hold a removed average of the same name, which is another average: compare specs, not names.
  const held = version.shadows.find((shadow) => shadow.spec === spec);
  return held !== undefined && held.state.weight !== undefined;
}

function* planAverage(
  run: Run,
  version: Version,
  request: GetShadow,
  selection: Selection,
): Generator<void, PlannedShadow> {
  const shadow = findAverage(run, version, request.average);
  const plan = yield* planRead(run.layout, version, shadow, selection, request.dtype);
  const { numUpdates, weight = 0, movement } = shadow.state;
  const header = { average: shadow.spec.name, step: version.step ?? 0, num_updates: numUpdates, weight };
  return { plan, header: movement === undefined ? header : { ...header, movement: movementMessage(movement) } };
}

function* planCombined(
  run: Run,
  version: Version,
  request: GetShadow,
  selection: Selection,
  gamma: number,
): Generator<void, PlannedShadow> {
  const step = request.wish.kind === 'step' ? request.wish.step : undefined;
  const combination = yield* planCombination(run.spec.name, run.layout, version, gamma, step, selection, request.dtype);
  const { plan, contributions, fitError } = combination;
  return {
    plan,
    header: {
      average: '',
      step: combination.step,
      num_updates: 0,
      weight: 0,
      contributions: [...contributions],
      fit_error: fitError,
    },
  };
}

function findAverage(run: Run, version: Version, name: string): Shadow {
  const { shadows } = version;
  const found = name === '' && shadows.length === 1 ? shadows[0] : shadows.find(({ spec }) => spec.name === name);
  if (found !== undefined) return found;
  const names = shadows.map(({ spec }) => quote(spec.name)).join(', ');
  const problem = name === '' ? 'several averages, name one of' : `no average ${quote(name)}, it has`;
  throw new ShadowkeepError('AVERAGE_NOT_FOUND', `run ${quote(run.spec.name)} has ${problem} ${names}`);
}
