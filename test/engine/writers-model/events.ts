import type { Run } from '../../../src/engine/index.js';
import { same } from '../model/compare.js';
import type { NaivePart } from './worlds.js';

/** A part that a writer sent to its end. */
export interface SentPart {
  readonly generation: number;
  readonly writer: number;
  readonly step: number;
  readonly bytes: Buffer;
  readonly part: NaivePart;
  readonly isInitial: boolean;
  readonly isSkipped: boolean;
  /** What the writer was told; undefined: nothing yet. */
  answer: string | undefined;
}

/** A version that became the head: of which step, by which generation, made of which parts. */
export interface Flip {
  readonly step: number;
  readonly generation: number;
  readonly parts: readonly SentPart[];
}

const COMMITTED = new Set(['COMMITTED', 'SKIPPED']);
const REFUSED = new Set(['DROPPED', 'REJECTED']);

/**
 * What writers have sent and were told, and which versions came of it, as somebody sees it who stands outside: nothing is
 * known here of how a run puts steps together. What must hold of these events is checked as they come.
 */
export class Events {
  /** The versions that the head descends from, rising. */
  lineage: readonly Flip[] = [];
  private readonly receiving = new Map<string, Buffer>();
  private readonly sent: SentPart[] = [];
  private readonly flips: Flip[] = [];
  private headId: number;

  constructor(private readonly run: Run) {
    this.headId = run.head.id;
    run.subscribe(() => this.look());
  }

  /** Bytes of a part have arrived. */
  chunk(generation: number, writer: number, step: number, offset: number, data: Uint8Array): void {
    const key = `${generation}/${writer}/${step}`;
    const before = this.receiving.get(key) ?? Buffer.alloc(0);
    this.receiving.set(key, Buffer.concat([before.subarray(0, offset), data]));
  }

  /** A writer has said that its part is whole. */
  commit(part: Omit<SentPart, 'bytes' | 'answer'>, bytes: number): SentPart {
    const key = `${part.generation}/${part.writer}/${part.step}`;
    const received = this.receiving.get(key) ?? Buffer.alloc(0);
    const sent = { ...part, bytes: received.subarray(0, bytes), answer: undefined };
    this.sent.push(sent);
    return sent;
  }

  /** There is a new head: a step that all of its generation's writers have sent, or where a new generation goes back to. */
  private look(): void {
    const { head, generation, writerCount } = this.run;
    if (this.run.isDeleted || head.id === this.headId) return;
    this.headId = head.id;
    const last = this.lineage.at(-1);
    const step = head.step ?? -1;
    if (last !== undefined && step <= last.step) {
      same(generation > last.generation, true, `step ${step} after ${last.step} without a new generation`);
      this.lineage = this.lineage.filter((flip) => flip.step <= step);
      same(this.lineage.at(-1)?.step ?? -1, step, 'the version that a new generation goes back to');
      return;
    }
    const parts = Array.from({ length: writerCount }, (_, writer) => {
      return this.sent.findLast((part) => {
        const isOf = part.generation === generation && part.writer === writer && part.step === step;
        // One that has sent its part may say so again after less of it.
        return isOf && (part.isSkipped || part.bytes.length >= part.part.stepBytes);
      });
    });
    const missing = parts.indexOf(undefined);
    same(missing, -1, `step ${step} is there without the part of writer`);
    const flip = { step, generation, parts: parts.flatMap((part) => part ?? []) };
    this.flips.push(flip);
    this.lineage = [...this.lineage, flip];
  }

  /** Nobody was told what has not been, and all writers of a step were told the same. */
  check(): void {
    const told = new Map<string, Set<string>>();
    for (const { generation, step, answer } of this.sent) {
      if (answer === undefined) continue;
      const key = `${generation}/${step}`;
      told.set(key, (told.get(key) ?? new Set()).add(answer));
    }
    for (const [key, answers] of told) {
      const committed = [...answers].filter((answer) => COMMITTED.has(answer));
      const refused = [...answers].filter((answer) => REFUSED.has(answer));
      same(committed.length + refused.length <= 1, true, `step ${key} was told to be ${[...answers]}`);
      const flips = this.flips.filter(({ generation, step }) => `${generation}/${step}` === key);
      same(flips.length <= 1, true, `step ${key} became the head ${flips.length} times`);
      if (refused.length > 0) same(flips.length, 0, `heads of step ${key}, which was ${refused}`);
      if (committed[0] === 'COMMITTED') same(flips.length, 1, `heads of step ${key}, which was committed`);
    }
  }
}
