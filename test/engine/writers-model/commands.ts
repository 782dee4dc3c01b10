import type { Random } from '../model/random.js';
import type { Client } from './generation.js';
import type { Sending } from './sending.js';
import type { Streams } from './streams.js';
import type { Trainer } from './trainer.js';
import type { Versions } from './versions.js';

/** More than a trainer that has nothing in its way needs to send a step. */
const TURN_COUNT_MAX = 4_000;
/** Turns in which all that are picked have to wait: nobody can do anything before a step is folded. */
const IDLE_TURN_COUNT_MAX = 60;

/** What happens to a run, chosen at random. */
export class Commands {
  constructor(
    private readonly trainer: Trainer,
    private readonly streams: Streams,
    private readonly sending: Sending,
    private readonly versions: Versions,
    private readonly random: Random,
    private readonly log: string[],
  ) {}

  private note(what: string): void {
    this.log.push(what);
  }

  /** Any of it; no fold may be under way. */
  any(): void {
    const { random } = this;
    const at = random.below(100);
    if (at < 40) this.round();
    else if (at < 60)
      for (let left = random.between(1, 12); left > 0; left--) this.note(this.sending.send(this.client()));
    else if (at < 64) this.note(this.versions.pin());
    else if (at < 67) this.note(this.versions.release());
    else this.fault();
  }

  /** Something that goes wrong, or comes unexpected; no fold may be under way. */
  fault(): void {
    const { random, streams, sending } = this;
    const client = this.client();
    const at = random.below(100);
    const { stream, left } = client;
    const { inFlight } = this.trainer.generation;
    if (at < 12 && stream !== undefined) this.note(streams.leave(client));
    else if (at < 22 && stream !== undefined) this.note(`${streams.leave(client)}, ${streams.open(client, false)}`);
    else if (at < 36) this.note(this.open(client));
    else if (at < 46 && left !== undefined) this.note(streams.forget(client));
    else if (at < 51) this.note(streams.openWrong(client));
    else if (at < 56 && streams.zombies.length > 0) this.note(streams.wakeZombie());
    else if (at < 68) this.note(sending.duplicate(client));
    else if (at < 78 && inFlight.receiving.has(client.number)) this.note(sending.sendWrong(client));
    else if (at < 84) this.note(inFlight.flights.length > 0 ? this.drop() : sending.send(client));
    else if (at < 89) this.note(sending.lose(client));
    else if (at < 92) this.leaveAll();
    else this.restart();
  }

  /** Any client, or one in the middle of a step. */
  client(): Client {
    const { random } = this;
    const { clients, inFlight } = this.trainer.generation;
    const busy = clients.filter(({ number }) => inFlight.receiving.has(number));
    return random.pick(busy.length > 0 && random.oneIn(2) ? busy : clients);
  }

  private open(client: Client): string {
    const { random, streams } = this;
    const takeover = random.oneIn(2);
    if (client.stream !== undefined && !takeover) return 'open already';
    const what = streams.open(client, takeover);
    return random.oneIn(2) ? what : `${what}, ${this.sending.duplicate(client)}`;
  }

  /** All writers send the next step, or the next two; one of them may be missing. */
  round(isWhole = false): void {
    const { trainer, random } = this;
    const { clients } = trainer.generation;
    const missing = !isWhole && random.oneIn(2) ? this.client() : undefined;
    this.openAll(missing);
    const target = Math.max(...clients.map(({ position }) => position)) + random.between(1, 2);
    let idleTurns = 0;
    for (
      let turn = 0;
      turn < TURN_COUNT_MAX && idleTurns < IDLE_TURN_COUNT_MAX && !this.sending.isConflicting;
      turn++
    ) {
      const behind = clients.filter((client) => client !== missing && client.isReady && client.position < target);
      if (behind.length === 0 || (!isWhole && random.oneIn(50))) break;
      const client = random.pick(behind);
      idleTurns = this.sending.send(client).endsWith('must wait') ? idleTurns + 1 : 0;
      trainer.follow();
    }
    this.note(
      `round to ${target}${missing ? ` without ${missing.number}` : ''}: ${clients.map(({ position }) => position)}`,
    );
  }

  private openAll(missing: Client | undefined): void {
    const { generation } = this.trainer;
    for (const client of generation.clients) {
      const isClosed = client.stream === undefined && !generation.isStarved;
      if (isClosed && client !== missing) this.note(this.streams.open(client, false));
    }
  }

  leaveAll(): void {
    for (const client of this.trainer.generation.clients) this.note(this.streams.leave(client));
  }

  /** The step that is decided next has waited too long. */
  private drop(): string {
    const { trainer, streams } = this;
    trainer.run.dropOldest(1_000);
    const { clients, inFlight } = trainer.generation;
    const ended = inFlight.drop();
    for (const number of ended) {
      const client = clients[number]!;
      client.sending = undefined;
      if (client.stream !== undefined) streams.ended(client, 'STEP_TIMEOUT');
    }
    return `drop the oldest step: ends [${ended}]`;
  }

  private restart(): void {
    const before = this.trainer.generation;
    const { what, isNew } = this.trainer.restart();
    this.note(what);
    if (!isNew) return;
    for (const client of before.clients)
      if (client.stream !== undefined) this.streams.ended(client, 'GENERATION_FENCED');
  }
}
