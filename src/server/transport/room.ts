/** A stream that asks for room. What a stream holds counts for its connection too. */
export interface Claimant {
  readonly connection: object;
  /** Ends the stream, because others wait for what it holds. */
  shed(why: string): void;
}

/** How often granted claims are looked at while other claims wait. */
const LOOK_MS = 250;

/**
 * A part of the transport's budget, claimed message by message. One room is for messages on their way in, another for
 * answers that the peer has not taken. A claim that does not fit waits. A claim that keeps others waiting for longer
 * than its patience has its stream shed.
 */
export class Room {
  readonly totalBytes: number;
  #usedBytes = 0;
  /** Bytes that each claimant and each connection holds. */
  readonly #held = new Map<object, number>();
  readonly #granted = new Set<Claim>();
  readonly #waiting = new Set<Claim>();
  #timer: NodeJS.Timeout | undefined;

  constructor(totalBytes: number) {
    this.totalBytes = totalBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** How many claims wait. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /**
   * Claims room for a message. `patienceMs`: the owner is shed when others have waited this long while it holds the
   * claim.
   */
  claim(owner: Claimant, bytes: number, patienceMs: number): Claim {
    const claim = new Claim(this, owner, bytes, patienceMs);
    if (this.#fits(claim)) {
      this.#grant(claim);
    } else {
      this.#waiting.add(claim);
      this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
    }
    return claim;
  }

  /** Gives a claim's bytes back, or its place in the queue, and grants waiting claims that fit now. */
  release(claim: Claim): void {
    this.#waiting.delete(claim);
    if (this.#granted.delete(claim)) {
      this.#usedBytes -= claim.bytes;
      this.#add(claim.owner, -claim.bytes);
      this.#add(claim.owner.connection, -claim.bytes);
    }
    // Small claims pass a large one that does not fit yet, so that trainers go on with the room that they give back.
    for (const waiting of this.#waiting) if (this.#fits(waiting)) this.#grant(waiting);
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /**
   * Whether a claim can be granted now. A claimant's second claim must leave half of the room to the first claims of
   * others. A connection holds at most as much as stays free, so that there is always room for the next connection. A
   * claim may be larger than the room when nothing else is granted.
   */
  #fits({ owner, bytes }: Claim): boolean {
    if (this.#usedBytes === 0) return true;
    const usedBytes = this.#usedBytes + bytes;
    if (usedBytes > this.totalBytes) return false;
    if (this.#holds(owner)) return usedBytes <= this.totalBytes / 2;
    return !this.#isOverShare(owner.connection, bytes);
  }

  #isOverShare(connection: object, bytes: number): boolean {
    const heldBytes = this.#held.get(connection) ?? 0;
    return heldBytes > 0 && heldBytes + bytes > this.totalBytes - this.#usedBytes;
  }

  #holds(owner: Claimant): boolean {
    return this.#held.has(owner);
  }

  #grant(claim: Claim): void {
    this.#waiting.delete(claim);
    this.#granted.add(claim);
    this.#usedBytes += claim.bytes;
    this.#add(claim.owner, claim.bytes);
    this.#add(claim.owner.connection, claim.bytes);
    claim.grant();
  }

  #add(holder: object, bytes: number): void {
    const heldBytes = (this.#held.get(holder) ?? 0) + bytes;
    if (heldBytes === 0) this.#held.delete(holder);
    else this.#held.set(holder, heldBytes);
  }

  /**
   * Sheds the owners of claims that have kept others waiting for too long. A claim that waits because its own stream
   * holds another one does not count. A claim that waits because its connection holds too much counts against that
   * connection's claims only.
   */
  #look(): void {
    const nowMs = performance.now();
    let longestMs = 0;
    const longestOn = new Map<object, number>();
    for (const { owner, bytes, sinceMs } of this.#waiting) {
      if (this.#holds(owner)) continue;
      const { connection } = owner;
      if (this.#isOverShare(connection, bytes)) {
        longestOn.set(connection, Math.max(longestOn.get(connection) ?? 0, nowMs - sinceMs));
      } else {
        longestMs = Math.max(longestMs, nowMs - sinceMs);
      }
    }
    for (const { owner, sinceMs, patienceMs } of [...this.#granted]) {
      const othersMs = Math.max(longestMs, longestOn.get(owner.connection) ?? 0);
      if (Math.min(othersMs, nowMs - sinceMs) < patienceMs) continue;
      this.#putLast(owner.connection);
      owner.shed(`others waited ${patienceMs} ms for the memory that this stream holds`);
    }
  }

  /** Moves the waiting claims of a connection behind all others, because the connection has kept others waiting. */
  #putLast(connection: object): void {
    for (const waiting of [...this.#waiting]) {
      if (waiting.owner.connection !== connection) continue;
      this.#waiting.delete(waiting);
      this.#waiting.add(waiting);
    }
  }
}

/** Bytes of a room that a stream holds or waits for. */
export class Claim {
  readonly owner: Claimant;
  readonly bytes: number;
  patienceMs: number;
  /** When the claim began to wait or, once it is granted, when it was granted. */
  sinceMs = performance.now();
  isGranted = false;
  #onGranted: (() => void) | undefined;
  readonly #room: Room;

  constructor(room: Room, owner: Claimant, bytes: number, patienceMs: number) {
    this.#room = room;
    this.owner = owner;
    this.bytes = bytes;
    this.patienceMs = patienceMs;
  }

  /** Calls `action` when the claim is granted; at once when it is granted already. */
  whenGranted(action: () => void): void {
    if (this.isGranted) action();
    else this.#onGranted = action;
  }

  /** Marks the claim as granted. Only the room calls this. */
  grant(): void {
    this.isGranted = true;
    this.sinceMs = performance.now();
    this.#onGranted?.();
  }

  /** Gives the claim back to its room. Idempotent. */
  release(): void {
    this.#room.release(this);
  }
}
