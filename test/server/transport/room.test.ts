import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Claim, type Claimant, Room } from '../../../src/server/transport/room.js';

/** A stream that remembers whether it was shed, and gives back what it holds then. */
class Stream implements Claimant {
  readonly connection: object;
  readonly claims: Claim[] = [];
  isShed = false;

  constructor(connection: object = {}) {
    this.connection = connection;
  }

  claim(room: Room, bytes: number, patienceMs = 1_000): Claim {
    const claim = room.claim(this, bytes, patienceMs);
    this.claims.push(claim);
    return claim;
  }

  shed(): void {
    this.isShed = true;
    for (const claim of this.claims) claim.release();
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});

afterEach(() => {
  vi.useRealTimers();
});

describe('room', () => {
  test('is granted while there is some, then when some is given back', () => {
    const room = new Room(100);
    const first = new Stream().claim(room, 60);
    const second = new Stream().claim(room, 60);
    // A large claim that waits does not hold up a small one.
    const third = new Stream().claim(room, 30);
    const told = vi.fn();
    second.whenGranted(told);
    expect([first, second, third].map(({ isGranted }) => isGranted)).toEqual([true, false, true]);
    first.release();
    expect(second.isGranted).toBe(true);
    expect(told).toHaveBeenCalledOnce();
    expect(room.usedBytes).toBe(90);
    for (const claim of [first, second, third, third]) claim.release();
    expect(room.usedBytes).toBe(0);
  });

  test('of a connection is at most what was free beside it', () => {
    const room = new Room(100);
    const connection = {};
    const claims = Array.from({ length: 8 }, () => new Stream(connection).claim(room, 20));
    expect(claims.filter(({ isGranted }) => isGranted)).toHaveLength(3);
    // However much one connection asks for, another connection is served.
    expect(new Stream().claim(room, 20).isGranted).toBe(true);
    expect(new Stream().claim(room, 20).isGranted).toBe(true);
  });

  test('for a second claim is in the first half', () => {
    const room = new Room(100);
    const stream = new Stream();
    expect(stream.claim(room, 40).isGranted).toBe(true);
    const second = stream.claim(room, 20);
    expect(second.isGranted).toBe(false);
    expect(new Stream().claim(room, 50).isGranted).toBe(true);
    stream.claims[0]?.release();
    expect(second.isGranted).toBe(true);
  });

  test('is given to a claim that is larger than it when nobody else has any', () => {
    const room = new Room(100);
    const small = new Stream().claim(room, 10);
    const large = new Stream().claim(room, 500);
    expect(large.isGranted).toBe(false);
    small.release();
    const late = new Stream().claim(room, 10);
    expect([large.isGranted, late.isGranted]).toEqual([true, false]);
    large.release();
    expect(late.isGranted).toBe(true);
  });
});

describe('who keeps others waiting', () => {
  test('is ended when its patience is over, and not before', () => {
    const room = new Room(100);
    const holder = new Stream();
    holder.claim(room, 100);
    vi.advanceTimersByTime(60_000);
    const waiting = new Stream().claim(room, 50);
    vi.advanceTimersByTime(900);
    expect([holder.isShed, waiting.isGranted]).toEqual([false, false]);
    vi.advanceTimersByTime(400);
    expect([holder.isShed, waiting.isGranted]).toEqual([true, true]);
  });

  test('is nobody while no claim waits', () => {
    const room = new Room(100);
    const holder = new Stream();
    holder.claim(room, 100);
    vi.advanceTimersByTime(3_600_000);
    expect(holder.isShed).toBe(false);
  });

  test('is not one for what waits behind its own first claim', () => {
    const room = new Room(100);
    const stream = new Stream();
    stream.claim(room, 60);
    stream.claim(room, 60);
    vi.advanceTimersByTime(60_000);
    expect(stream.isShed).toBe(false);
  });

  test('is of the same connection where that holds too much', () => {
    const room = new Room(100);
    const connection = {};
    const [greedy, honest] = [new Stream(connection), new Stream()];
    greedy.claim(room, 50);
    honest.claim(room, 10);
    const second = new Stream(connection).claim(room, 30);
    expect(second.isGranted).toBe(false);
    vi.advanceTimersByTime(2_000);
    expect([greedy.isShed, honest.isShed, second.isGranted]).toEqual([true, false, true]);
  });

  test('is served after others the next time', () => {
    const room = new Room(100);
    const connection = {};
    new Stream(connection).claim(room, 100);
    const second = new Stream(connection).claim(room, 100);
    const other = new Stream().claim(room, 100);
    vi.advanceTimersByTime(1_500);
    expect([second.isGranted, other.isGranted]).toEqual([false, true]);
  });

  test('may have longer patience than another', () => {
    const room = new Room(100);
    const [patient, brief] = [new Stream(), new Stream()];
    patient.claim(room, 50, 60_000);
    brief.claim(room, 50, 1_000);
    const waiting = new Stream().claim(room, 50);
    vi.advanceTimersByTime(2_000);
    expect([patient.isShed, brief.isShed, waiting.isGranted]).toEqual([false, true, true]);
  });
});
