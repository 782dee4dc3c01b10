import { toEnd } from '../../../src/common/index.js';
import { BoxList, planRead, type Reader, type RetentionSpec, type Run } from '../../../src/engine/index.js';
import type { Box } from '../../../src/engine/world/index.js';
import { entriesOf } from '../fixtures.js';
import { checkRead, checkVersion, same, sameAll } from '../model/compare.js';
import { countOf, type NaiveRun, type NaiveVersion } from '../model/naive-run.js';
import type { Random } from '../model/random.js';
import { dealBoxes, elementsOf } from './worlds.js';

/** What readers see of a run beside what they should. */
export class Versions {
  /** Steps that should be retained, rising. */
  retained: number[] = [];
  retain: RetentionSpec | undefined;
  readers: { readonly engine: Reader; readonly naive: NaiveVersion }[] = [];
  private readonly byStep = new Map<number, NaiveVersion>();
  private head: NaiveVersion;
  private lastChecked = 0;

  constructor(
    readonly run: Run,
    readonly naive: NaiveRun,
    private readonly random: Random,
    /** No reader is ever evicted. */
    private readonly isUnbounded: boolean,
  ) {
    this.head = naive.head;
    this.retain = run.retain;
  }

  /** The naive run has moved on, by one step at most. */
  follow(): void {
    const { naive, retain } = this;
    if (naive.head === this.head || naive.head.step === undefined) return;
    this.head = naive.head;
    const { step } = naive.head;
    this.byStep.set(step!, naive.head);
    if (retain === undefined || step! % retain.everySteps !== 0) return;
    this.retained = [...this.retained, step!].slice(-retain.countMax);
  }

  /** The trainer goes back to the newest version at or below a step that is there. */
  rewind(resumeStep: number): void {
    const { naive } = this;
    if (naive.head.step === undefined || naive.head.step <= resumeStep) return;
    this.retained = this.retained.filter((step) => step <= resumeStep);
    naive.rewind(this.byStep.get(this.retained.at(-1)!)!);
    this.head = naive.head;
  }

  /** A reader of the head comes, or of a version that somebody holds. */
  pin(): string {
    const { run, naive, random } = this;
    if (run.committedStep === undefined) return 'nothing to pin';
    const held = this.readers.filter(({ engine }) => run.versions.includes(engine.version));
    const again = held.length > 0 && random.oneIn(3) ? random.pick(held) : undefined;
    const version = again?.engine.version ?? run.head;
    this.readers.push({ engine: run.pin(version), naive: again?.naive ?? naive.head });
    same(version.step, this.readers.at(-1)!.naive.step, 'step of a reader');
    return `pin ${version.step}`;
  }

  release(): string {
    if (this.readers.length === 0) return 'nothing to release';
    const reader = this.random.pick(this.readers);
    reader.engine.release();
    this.readers = this.readers.filter((other) => other !== reader);
    return `release ${reader.naive.step}`;
  }

  /** Those that readers hold; during a fold too. */
  checkHeld(): void {
    for (const { engine, naive } of this.readers) {
      if (engine.evicted === undefined) checkVersion(this.run.layout, this.naive, engine.version, naive, this.random);
      else if (this.isUnbounded) same(engine.evicted, undefined, 'eviction');
    }
    this.readers = this.readers.filter(({ engine }) => engine.evicted === undefined);
  }

  /** All of them, where there is a new one or by chance; no fold may be under way. */
  checkAll(): void {
    const { run, naive, random } = this;
    this.checkRetained();
    same(run.committedStep, naive.head.step, 'committed step');
    if (run.head.id === this.lastChecked && !random.oneIn(4)) return;
    this.lastChecked = run.head.id;
    this.checkHeld();
    if (run.committedStep === undefined) return;
    checkVersion(run.layout, naive, run.head, naive.head, random);
    this.checkBoxes(naive.head);
    for (const version of run.versions.filter(({ isRetained }) => isRetained)) {
      const reader = run.pin(version);
      checkVersion(run.layout, naive, version, this.byStep.get(version.step!)!, random);
      reader.release();
    }
  }

  /** Those that are retained, which memory may have been too short for. */
  checkRetained(): void {
    const { retainedSteps } = this.run;
    if (this.isUnbounded) sameAll(retainedSteps, this.retained, 'retained steps');
    // The oldest are given up where memory is short.
    else sameAll(retainedSteps, this.retained.slice(this.retained.length - retainedSteps.length), 'retained steps');
    this.retained = retainedSteps;
  }

  /** An evaluator with a sharding of its own reads its part of the head. */
  private checkBoxes(version: NaiveVersion): void {
    const { run, naive, random } = this;
    const average = random.below(naive.spec.averages.length);
    const plan = toEnd(planRead(run.layout, run.head, run.head.shadows[average]!, () => true));
    const served = new Set(entriesOf(plan).map(({ tensor }) => tensor.name));
    const boxes = dealBoxes(random, naive.spec.tensors, random.between(1, 3))[0]!.filter(({ tensor }) => {
      return served.has(naive.spec.tensors[tensor]!.name);
    });
    const dtype = random.oneIn(3) ? random.pick(['F32', 'F64'] as const) : undefined;
    const read = toEnd(planRead(run.layout, run.head, run.head.shadows[average]!, BoxList.of(boxes), dtype));
    const expected = Buffer.concat(boxes.map((box) => this.bytesOf(box, version, average, dtype)));
    checkRead(read, expected, 16 * random.between(1, 100), version.step);
  }

  private bytesOf(box: Box, version: NaiveVersion, average: number, dtype: 'F32' | 'F64' | undefined): Buffer {
    const tensor = this.naive.spec.tensors[box.tensor]!;
    const elements = elementsOf(box, tensor.shape);
    const bytes = tensor.policy === 'AVERAGE' ? averaged() : copied(version.copied[box.tensor]!);
    return Buffer.concat([bytes, Buffer.alloc((64 - (bytes.length % 64)) % 64)]);

    function averaged(): Buffer {
      const shadow = version.shadows[average]![box.tensor]!;
      const isWide = (dtype ?? (shadow instanceof Float64Array ? 'F64' : 'F32')) === 'F64';
      const numbers = elements.map((element) => shadow[element]!);
      return Buffer.from((isWide ? Float64Array.from(numbers) : Float32Array.from(numbers)).buffer);
    }

    function copied(all: Uint8Array): Buffer {
      const size = all.length / Math.max(1, countOf(tensor));
      return Buffer.concat(elements.map((element) => all.subarray(element * size, (element + 1) * size)));
    }
  }
}
