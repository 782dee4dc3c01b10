/** Number of processes that may have been one writer of one generation. A launcher starts a rank again less often. */
const SESSION_COUNT_MAX = 16;

/**
 * Knows which process speaks for each writer of a generation: the process that came last. Two processes that share a
 * writer's number and its generation (an incarnation was used again, or none was given) are told apart by the session
 * that each of them names.
 */
export class Sessions {
  readonly #of = new Map<number, string[]>();

  /** Whether the session is the newest of its writer. */
  isNewest(writer: number, session: string): boolean {
    return this.#of.get(writer)?.at(-1) === session;
  }

  /** Whether another session of the writer has come since. */
  isReplaced(writer: number, session: string): boolean {
    return !this.isNewest(writer, session) && (this.#of.get(writer)?.includes(session) ?? false);
  }

  opened(writer: number, session: string): void {
    const others = (this.#of.get(writer) ?? []).filter((known) => known !== session);
    this.#of.set(writer, [...others, session].slice(-SESSION_COUNT_MAX));
  }
}
