import { expect } from 'vitest';
import { FLOAT_DTYPES, type ShadowkeepError } from '../../../src/common/index.js';
import { BoxList, type WriterStream } from '../../../src/engine/index.js';
import { same } from '../model/compare.js';
import type { Random } from '../model/random.js';
import { refusalOf } from '../model/subject.js';
import type { Client } from './generation.js';
import type { Trainer } from './trainer.js';
import { faultOf, keyOf, spoilBoxes } from './worlds.js';

/** How streams come and go. All of it is done when no fold is under way, except that a stream ends whenever it does. */
export class Streams {
  /** Streams that have ended, and whose processes do not know it. */
  readonly zombies: { readonly stream: WriterStream; readonly reason: string }[] = [];

  constructor(
    private readonly trainer: Trainer,
    private readonly random: Random,
  ) {}

  /** Opens a client's stream; in the place of one that is open only with `takeover`. */
  open(client: Client, takeover: boolean): string {
    const { trainer } = this;
    const { run, generation } = trainer;
    const before = client.stream;
    const fault = this.isLast(client) ? this.fault : undefined;
    const fits = generation.isBegun || before !== undefined || trainer.fits(client.list, this.isLast(client));
    const failures: ShadowkeepError[] = [];
    let stream: WriterStream | undefined;
    const refusal = refusalOf(() => {
      const request = generation.requestOf(client, takeover);
      stream = run.openWriter(request, (error) => failures.push(error));
    });
    const expected = fits && !this.lacksProof(client, refusal) ? fault?.reason : 'MEMORY_EXHAUSTED';
    same(refusal?.reason, expected, `refusal of writer ${client.number}`);
    if (before !== undefined && (refusal === undefined || fits)) this.replaced(client, before);
    if (stream === undefined) return this.notOpened(client, refusal!, fault);
    client.stream = stream;
    client.left = undefined;
    client.failures = failures;
    client.isNew = generation.isBegun;
    if (generation.isBegun) generation.inFlight.reopen(client.number, takeover);
    if (!generation.isBegun && generation.clients.every((other) => other.stream !== undefined)) this.begin();
    same(stream.isReady, generation.isBegun, 'ready');
    if (generation.isBegun) this.checkPlace(client);
    return `open ${client.number}${takeover ? ' (takeover)' : ''}${generation.isBegun ? '' : ', waits'}`;
  }

  private isLast(client: Client): boolean {
    const { isBegun, clients } = this.trainer.generation;
    return !isBegun && clients.every((other) => other === client || other.stream !== undefined);
  }

  /** Whether there was room for what was declared, but none for its proof, whose bytes the model does not count. */
  private lacksProof(client: Client, refusal: ShadowkeepError | undefined): boolean {
    if (!this.isLast(client) || refusal?.reason !== 'MEMORY_EXHAUSTED') return false;
    const { askedBytes, freeBytes } = refusal.metadata;
    return refusal.message.startsWith('boxes of run') && Number(askedBytes) > Number(freeBytes);
  }

  private get fault(): { reason: string; metadata: Record<string, string> } | undefined {
    const { generation, naive } = this.trainer;
    const { clients, writerCount } = generation;
    if (writerCount === 1 && clients[0]!.boxes === undefined) return undefined;
    const fault = faultOf(
      naive.spec.tensors,
      clients.map(({ boxes }) => boxes ?? []),
    );
    if (fault === undefined) return undefined;
    return {
      reason: fault.boxCount === 0 ? 'BOX_GAP' : 'BOX_OVERLAP',
      metadata: { ...fault, boxCount: `${fault.boxCount}` },
    };
  }

  private replaced(client: Client, stream: WriterStream): void {
    same(client.failures.map(({ reason }) => reason).join(), 'STREAM_REPLACED', 'end of a stream');
    this.zombies.push({ stream, reason: 'STREAM_REPLACED' });
    client.stream = undefined;
  }

  private notOpened(client: Client, refusal: ShadowkeepError, fault: Streams['fault']): string {
    const { generation } = this.trainer;
    client.left = undefined;
    if (refusal.reason === 'MEMORY_EXHAUSTED') {
      generation.isStarved = true;
      generation.closeIfLeft();
      return `no memory for writer ${client.number}`;
    }
    expect(refusal.metadata).toEqual(fault?.metadata);
    for (const other of generation.clients) if (other.stream !== undefined) this.ended(other, refusal.reason);
    generation.heal();
    generation.closeIfLeft();
    return `writer ${client.number}: ${refusal.message}`;
  }

  /** A stream was ended from outside; its process may not know it. */
  ended(client: Client, reason: string): void {
    same(client.failures.map((failure) => failure.reason).join(), reason, 'end of a stream');
    const stream = client.stream!;
    this.zombies.push({ stream, reason });
    client.stream = undefined;
    client.left = stream;
    if (this.random.oneIn(2)) stream.leave();
  }

  /** Of a box that several hold, one sends. */
  private begin(): void {
    const { generation, naive } = this.trainer;
    const senders = new Map<string, number>();
    for (const { stream, boxes } of generation.clients) {
      for (const [index, box] of (boxes ?? []).entries()) {
        const key = keyOf(box, naive.spec.tensors[box.tensor]!);
        const sends = box.replicaGroup !== 0 && !stream!.leftOut.includes(index);
        senders.set(key, (senders.get(key) ?? 0) + (sends || box.replicaGroup === 0 ? 1 : 0));
        if (box.replicaGroup === 0)
          same(stream!.leftOut.includes(index), false, 'a box that nobody else has is left out');
      }
    }
    for (const [key, count] of senders) if (!isEmptyBox(key)) same(count, 1, `senders of box ${key}`);
    generation.begin();
  }

  /** What a client that comes back is told. */
  private checkPlace({ stream, number, part }: Client): void {
    const receiving = this.trainer.generation.inFlight.receiving.get(number);
    same(stream!.step, receiving?.step, 'step being received');
    same(stream!.receivedBytes, receiving?.bytes ?? 0, 'bytes received');
    same(stream!.stepBytes, part!.stepBytes, 'step bytes');
    same(stream!.firstStepBytes, part!.sources.length, 'first step bytes');
  }

  /** A stream breaks, wherever it is. */
  leave(client: Client): string {
    const { stream } = client;
    if (stream === undefined) return 'nothing to leave';
    stream.leave();
    stream.leave();
    client.stream = undefined;
    client.left = stream;
    return `leave ${client.number}`;
  }

  /** Nobody came back in time. */
  forget(client: Client): string {
    const { generation } = this.trainer;
    const { left } = client;
    if (left === undefined) return 'nothing to forget';
    left.leave();
    left.forget();
    client.left = undefined;
    client.sending = undefined;
    generation.inFlight.discard(client.number);
    generation.closeIfLeft();
    left.forget();
    return `forget ${client.number}`;
  }

  /** Opens that are refused and change nothing. */
  openWrong(client: Client): string {
    const { trainer, random } = this;
    const { run, generation, naive } = trainer;
    const request = generation.requestOf(client, true);
    const attempts: [string, Parameters<typeof run.openWriter>[0]][] = [
      ['INVALID_FIELD', { ...request, writer: generation.writerCount + random.below(3) }],
      ['GENERATION_FENCED', { ...request, generation: generation.number - 1 }],
      ['GENERATION_UNKNOWN', { ...request, generation: generation.number + 1 }],
    ];
    if (client.stream !== undefined) attempts.push(['WRITER_BUSY', { ...request, takeover: false }]);
    if (generation.isBegun || client.stream !== undefined) {
      const other = spoilBoxes(random, [client.boxes ?? []])[0]!;
      const wireDType = random.pick(FLOAT_DTYPES);
      const isOther = JSON.stringify(other) !== JSON.stringify(client.boxes ?? []);
      if (isOther) attempts.push(['BOXES_CHANGED', { ...request, boxes: BoxList.of(other) }]);
      if (wireDType !== generation.wireDType) attempts.push(['WRITERS_MISMATCH', { ...request, wireDType }]);
    }
    const [reason, attempt] = random.pick(attempts);
    const refusal = refusalOf(() => {
      run.openWriter(attempt, () => expect.fail('a stream that was never open'));
    });
    same(refusal?.reason, reason, `refusal of a wrong stream of ${naive.spec.name}`);
    return `open ${client.number} wrongly: ${reason}`;
  }

  /** A process that does not know that its stream has ended goes on with it. */
  wakeZombie(): string {
    if (this.zombies.length === 0) return 'no zombie';
    const { stream, reason } = this.random.pick(this.zombies);
    same(refusalOf(() => stream.stage(1, 0, Buffer.alloc(64)))?.reason, reason, 'refusal of a zombie');
    stream.leave();
    return `zombie of writer ${stream.number}: ${reason}`;
  }
}

function isEmptyBox(key: string): boolean {
  return key.split('|')[2]!.split(',').includes('0');
}
