/** Who asks for room: one stream. What it holds counts for its connection too. */
export interface Claimant {
  readonly connection: object;
  /** Ends it, because others wait for what it holds. */
  shed(why: string): void;
}

/** How often the claims are looked at while others wait for their room. */
const LOOK_MS = 250;

/**
 * A part of the transport's budget, claimed message by message: what is on its way in, or what waits to be taken by the
 * peer. A claim that does not fit waits. Nobody keeps others waiting for longer than the claim's own patience.
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

  /** `patienceMs`: for so long others wait for what this claim holds, then its owner is shed. */
  claim(owner: Claimant, bytes: number, patienceMs: number): Claim {
    const claim = new Claim(this, owner, bytes, patienceMs);
    if (this.#fits(claim)) {
      this.#take(claim);
    } else {
      this.#waiting.add(claim);
      this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
    }
    return claim;
  }

  /** Gives the bytes back, or the place in the queue. */
  release(claim: Claim): void {
    this.#waiting.delete(claim);
    if (this.#granted.delete(claim)) {
      this.#usedBytes -= claim.bytes;
      this.#add(claim.owner, -claim.bytes);
      this.#add(claim.owner.connection, -claim.bytes);
    }
    // A large claim does not hold up small ones: while it waits, trainers go on with what they give back themselves.
    for (const waiting of this.#waiting) if (this.#fits(waiting)) this.#take(waiting);
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /**
   * A claimant's second claim leaves half of the room to first ones. A connection holds at most as much as is free beside
   * it: there is always some for the next connection, whatever one does. Alone, a claim may be larger than the room.
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

  #take(claim: Claim): void {
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
   * Sheds who has kept others waiting. One that waits for its own earlier claims is no reason to, and one whose connection
   * holds too much is a reason to shed that connection's claims only.
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

  /** Others are served before what waits on a connection that has kept them waiting. */
  #putLast(connection: object): void {
    for (const waiting of [...this.#waiting]) {
      if (waiting.owner.connection !== connection) continue;
      this.#waiting.delete(waiting);
      this.#waiting.add(waiting);
    }
  }
}

/** Bytes of a room that somebody holds or waits for. */
export class Claim {
  readonly owner: Claimant;
  readonly bytes: number;
  patienceMs: number;
  /** When it began to wait, or to hold. */
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

  /** Calls `action` when it is granted; at once when it is. */
  whenGranted(action: () => void): void {
    if (this.isGranted) action();
    else this.#onGranted = action;
  }

  /** For the room alone. */
  grant(): void {
    this.isGranted = true;
    this.sinceMs = performance.now();
    this.#onGranted?.();
  }

  /** Harmless when it was released. */
  release(): void {
    this.#room.release(this);
  }
}
