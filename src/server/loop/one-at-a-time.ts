/** Runs actions one after another: an action begins when the one before it is done or has failed. */
export class OneAtATime {
  #last: Promise<unknown> = Promise.resolve();

  async run<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => undefined);
    return await result;
  }
}
