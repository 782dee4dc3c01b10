import { quote, ShadowkeepError } from '../common/index.js';
import {
  copiedTensorsOf,
  planCombination,
  planRead,
  type ReadPlan,
  type Run,
  type Selection,
  type Shadow,
  tensorsOf,
  type Version,
} from '../engine/index.js';
import { type GetShadow, type GetShadowResponse, movementMessage, readBoxes, selectNames } from '../wire/index.js';

type Header = NonNullable<GetShadowResponse['header']>;

/** What a read of one version sends. */
export interface PlannedShadow {
  readonly plan: ReadPlan;
  /** What the header says of the average, beside what it says of the version. */
  readonly header: Pick<
    Header,
    'average' | 'step' | 'num_updates' | 'weight' | 'movement' | 'contributions' | 'fit_error'
  >;
}

/** Plans a read. Throws AVERAGE_NOT_FOUND, INVALID_FIELD (a name pattern, a box), NOTHING_TO_COMBINE, VERSION_NOT_FOUND. */
export function planShadow(run: Run, version: Version, request: GetShadow): PlannedShadow {
  return request.gamma === undefined
    ? planAverage(run, version, request)
    : planCombined(run, version, request, request.gamma);
}

/**
 * Whether the average that is asked for has begun in a version: one that was just added is still empty, or not there.
 * Throws AVERAGE_NOT_FOUND when the run has none of that name now.
 */
export function isReadable(run: Run, version: Version, request: GetShadow): boolean {
  if (request.gamma !== undefined) return true;
  const { spec } = findAverage(run, run.head, request.average);
  // The same rule, not another of its name that was removed.
  const held = version.shadows.find((shadow) => shadow.spec === spec);
  return held !== undefined && held.state.weight !== undefined;
}

function planAverage(run: Run, version: Version, request: GetShadow): PlannedShadow {
  const shadow = findAverage(run, version, request.average);
  const names = [...tensorsOf(run.layout, shadow.spec), ...copiedTensorsOf(run.layout)].map(({ name }) => name);
  const plan = planRead(run.layout, version, shadow, selectionOf(run, request, names), request.dtype);
  const { numUpdates, weight = 0, movement } = shadow.state;
  const header = { average: shadow.spec.name, step: version.step ?? 0, num_updates: numUpdates, weight };
  return { plan, header: movement === undefined ? header : { ...header, movement: movementMessage(movement) } };
}

function planCombined(run: Run, version: Version, request: GetShadow, gamma: number): PlannedShadow {
  const names = run.layout.tensors.filter(({ policy }) => policy !== 'IGNORE').map(({ name }) => name);
  const selection = selectionOf(run, request, names);
  const step = request.wish.kind === 'step' ? request.wish.step : undefined;
  const combination = planCombination(run.spec.name, run.layout, version, gamma, step, selection, request.dtype);
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

function selectionOf({ layout }: Run, { names, boxes }: GetShadow, served: readonly string[]): Selection {
  return boxes.length > 0 ? readBoxes(boxes, layout.tensors) : selectNames(names, served);
}

function findAverage(run: Run, version: Version, name: string): Shadow {
  const { shadows } = version;
  const found = name === '' && shadows.length === 1 ? shadows[0] : shadows.find(({ spec }) => spec.name === name);
  if (found !== undefined) return found;
  const names = shadows.map(({ spec }) => quote(spec.name)).join(', ');
  const problem = name === '' ? 'several averages, name one of' : `no average ${quote(name)}, it has`;
  throw new ShadowkeepError('AVERAGE_NOT_FOUND', `run ${quote(run.spec.name)} has ${problem} ${names}`);
}
