import type { CommitOutcome } from '../../../src/engine/index.js';
import { same } from '../model/compare.js';
import type { Random } from '../model/random.js';
import { refusalOf } from '../model/subject.js';
import { Calls } from './calls.js';
import type { Events } from './events.js';
import type { Client } from './generation.js';
import type { ScriptStep } from './steps.js';
import type { Streams } from './streams.js';
import type { Trainer } from './trainer.js';

type Drive = (fold: Iterable<void>) => Promise<void>;

/** What clients send on their streams; during a fold too. */
export class Sending {
  /** A commit is being refused with STEP_CONFLICT; nothing else happens until that is over. */
  isConflicting = false;
  readonly calls: Calls;
  /** Who was told to wait, and for which step. */
  private readonly blocked: { isOver: boolean; readonly oldest: number | undefined }[] = [];

  constructor(
    private readonly trainer: Trainer,
    private readonly streams: Streams,
    private readonly random: Random,
    private readonly isUnbounded: boolean,
    private readonly drive: Drive,
    private readonly events: Events,
  ) {
    this.calls = new Calls(trainer);
  }

  /** Sends some more of the step that a client is at, and its commit at the end. */
  send(client: Client): string {
    const { random } = this;
    const { generation } = this.trainer;
    if (!client.isReady || this.isConflicting) return 'nobody sends';
    if (!this.isAdmitted(client, generation.stepAt(client.position))) return `writer ${client.number} must wait`;
    const script = generation.scriptAt(client.position);
    client.sending ??= { script, bytes: generation.bytesFor(client, script) };
    const { bytes } = client.sending;
    const isSkipped = script.isSkipped && !generation.inFlight.isOld(script.step);
    if (isSkipped && random.oneIn(2)) return this.commit(client, script, 0);
    this.restart(client, script, bytes);
    const isAll = random.oneIn(3);
    for (let left = random.between(1, 3); left > 0 || isAll; left--) {
      if (this.place(client) === bytes.length) break;
      this.chunk(client, script, bytes, 16 * random.between(1, 40));
    }
    const sent = this.place(client);
    if (sent < bytes.length || random.oneIn(6))
      return `writer ${client.number} ${script.step}: ${sent} of ${bytes.length}`;
    if (random.oneIn(12)) this.commitWrong(client, script, bytes.length);
    return this.commit(client, script, bytes.length);
  }

  /** How much of its step a client has sent. */
  private place(client: Client): number {
    return this.trainer.generation.inFlight.receiving.get(client.number)?.bytes ?? 0;
  }

  /** On a new stream the step may begin again. */
  private restart(client: Client, script: ScriptStep, bytes: Buffer): void {
    const receiving = this.trainer.generation.inFlight.receiving.get(client.number);
    if (receiving === undefined || !client.isNew || this.random.oneIn(2)) return;
    receiving.bytes = 0;
    this.chunk(client, script, bytes, 16 * this.random.between(1, 40));
  }

  private chunk(client: Client, script: ScriptStep, bytes: Buffer, size: number): void {
    const receiving = this.trainer.generation.inFlight.begin(client.number, script);
    const data = bytes.subarray(receiving.bytes, receiving.bytes + size);
    client.stream!.stage(script.step, receiving.bytes, data);
    this.events.chunk(this.trainer.generation.number, client.number, script.step, receiving.bytes, data);
    receiving.bytes += data.length;
    client.isNew = false;
  }

  private isAdmitted(client: Client, step: number): boolean {
    const { generation } = this.trainer;
    const { inFlight } = generation;
    const room = client.stream!.admission(step);
    const expected = inFlight.hasRoom(client.number, step);
    if (this.isUnbounded || !expected || inFlight.flights.length === 0) {
      same(room === undefined, expected, `admission of step ${step}`);
    }
    if (room === undefined) return true;
    const blocked = { isOver: false, oldest: inFlight.flights[0]?.script.step };
    this.blocked.push(blocked);
    void room.then(() => {
      blocked.isOver = true;
    });
    return false;
  }

  /** Nobody waits for a step that is no longer in the way. */
  checkBlocked(): void {
    const oldest = this.trainer.generation.inFlight.flights[0]?.script.step;
    for (const blocked of this.blocked.splice(0)) {
      if (blocked.isOver) continue;
      same(blocked.oldest, oldest, 'step that others wait for');
      this.blocked.push(blocked);
    }
  }

  /** The end of a part. */
  private commit(client: Client, script: ScriptStep, bytes: number): string {
    client.isNew = false;
    client.sending = undefined;
    client.position += 1;
    return this.call(client, script, bytes);
  }

  private call(client: Client, script: ScriptStep, bytes: number): string {
    const { generation } = this.trainer;
    const { step, isInitial, isSkipped } = script;
    const what = `commit of step ${step} by writer ${client.number}`;
    const event = this.events.commit(
      { generation: generation.number, writer: client.number, step, part: client.part!, isInitial, isSkipped },
      bytes,
    );
    const outcome = client.stream!.commit({ step, bytes, isInitial, isSkipped }, this.drive);
    outcome.then(
      ({ state }) => {
        event.answer = state;
      },
      () => undefined,
    );
    const call = this.calls.track(what, outcome);
    this.isConflicting ||= generation.inFlight.commit(client.number, script, client.part!.stepBytes, call);
    return `${what}: ${call.allowed ?? 'waits'}`;
  }

  /** A step that is known came again as another one: all streams have ended, once that commit is refused. */
  endConflict(): void {
    if (!this.isConflicting) return;
    this.isConflicting = false;
    for (const client of this.trainer.generation.clients) {
      if (client.stream !== undefined) this.streams.ended(client, 'STEP_CONFLICT');
    }
  }

  /** Says something else of a step than the others, or what cannot be. */
  private commitWrong(client: Client, script: ScriptStep, bytes: number): void {
    const { trainer } = this;
    const { inFlight } = trainer.generation;
    const receiving = inFlight.receiving.get(client.number);
    if (client.isNew || typeof receiving?.target !== 'object' || !('parts' in receiving.target)) return;
    const isFirst = trainer.naive.head.step === undefined;
    const { stream } = client;
    const attempt = { step: script.step, bytes, isInitial: !script.isInitial, isSkipped: false };
    const needsInitial = trainer.naive.spec.averages.some(({ start }) => start === 'INITIAL');
    const isKnown = receiving.target.whole.size > 0;
    let reason = isKnown ? 'STEP_MISMATCH' : undefined;
    if (!isFirst && attempt.isInitial) reason = 'INITIAL_TOO_LATE';
    if (isFirst && needsInitial && !attempt.isInitial) reason = 'INITIAL_REQUIRED';
    if (reason === undefined) return;
    this.refused(stream!.commit(attempt, this.drive), reason);
    this.refused(stream!.commit({ ...attempt, step: script.step + 1 }, this.drive), 'STEP_MISMATCH');
    this.refused(
      stream!.commit({ ...attempt, isInitial: script.isInitial, bytes: bytes + 64 }, this.drive),
      'STEP_INCOMPLETE',
    );
  }

  private refused(outcome: Promise<CommitOutcome>, reason: string): void {
    this.calls.track('a wrong commit', outcome).allowed = reason;
  }

  /** Goes on without the next steps, or none, as one that had no connection; no fold may be under way. */
  lose(client: Client): string {
    const { random, trainer } = this;
    const { generation } = trainer;
    const { number } = client;
    const isOpen = generation.inFlight.flights.some(({ whole }) => whole.has(number));
    if (!client.isReady || this.isConflicting || isOpen) return 'nobody loses a step';
    for (let left = random.below(3); left > 0; left--) {
      generation.scriptAt(client.position);
      client.position += 1;
      client.sending = undefined;
    }
    const through = generation.stepAt(client.position) - 1;
    client.stream!.lose(through);
    generation.inFlight.lose(number, through);
    return `writer ${number} has lost what it has not sent up to step ${through}`;
  }

  /** Sends a part again, whole, of a step that is decided or that this writer has sent. */
  duplicate(client: Client): string {
    const { random, trainer } = this;
    const { generation, naive } = trainer;
    const { inFlight } = generation;
    if (!client.isReady || this.isConflicting) return 'nobody sends again';
    const receiving = inFlight.receiving.get(client.number);
    if (receiving !== undefined && !client.isNew) return 'in the middle of another step';
    const scripts = inFlight.flights.filter(({ whole }) => whole.has(client.number)).map(({ script }) => script);
    const unheard = inFlight.unheard(client.number);
    scripts.push(...unheard, ...unheard, ...unheard);
    const committed = naive.head.step;
    if (committed !== undefined)
      scripts.push(generation.replayOf(random.between(Math.max(0, committed - 6), committed)));
    if (scripts.length === 0) return 'nothing to send again';
    const script = random.pick(scripts);
    if (receiving !== undefined && script.step === receiving.step) return 'the very step';
    // A new stream that begins another step gives up the one that the old one was in.
    const bytes = generation.bytesFor(client, script);
    const end = random.oneIn(4) ? 16 * random.below(bytes.length / 16 + 1) : bytes.length;
    same(client.stream!.admission(script.step), undefined, 'admission of a known step');
    inFlight.discard(client.number);
    for (let size = 16 * random.between(1, 60), sent = 0; sent < end; sent += size) {
      this.chunk(client, script, bytes.subarray(0, end), size);
    }
    client.isNew = false;
    return `again: ${this.call(client, script, end)}`;
  }

  /** Chunks that are refused and change nothing. */
  sendWrong(client: Client): string {
    const { random, trainer } = this;
    const receiving = trainer.generation.inFlight.receiving.get(client.number);
    const { stream, part } = client;
    if (!client.isReady || receiving === undefined || receiving.bytes === 0) return 'nobody sends wrongly';
    const { step, bytes } = receiving;
    const total = part!.sources.length;
    const attempts: [string, () => void][] = [
      ['CHUNK_OVERLAP', () => stream!.stage(step, bytes - 16, Buffer.alloc(16))],
      ['CHUNK_PAST_END', () => stream!.stage(step, bytes, Buffer.alloc(total - bytes + 16))],
    ];
    if (bytes + 32 <= total) attempts.push(['CHUNK_GAP', () => stream!.stage(step, bytes + 16, Buffer.alloc(16))]);
    if (!client.isNew) attempts.push(['STEP_MISMATCH', () => stream!.stage(step + 1, bytes, Buffer.alloc(16))]);
    const [reason, attempt] = random.pick(attempts);
    same(refusalOf(attempt)?.reason, reason, 'refusal of a chunk');
    client.isNew = false;
    return `writer ${client.number} wrongly: ${reason}`;
  }
}
