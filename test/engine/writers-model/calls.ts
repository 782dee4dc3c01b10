import { expect } from 'vitest';
import { ShadowkeepError } from '../../../src/common/index.js';
import type { CommitOutcome } from '../../../src/engine/index.js';
import { same } from '../model/compare.js';
import { dropText } from './in-flight.js';
import type { Call } from './steps.js';
import type { Trainer } from './trainer.js';

/** Commits that writers have sent, until they are answered. */
export class Calls {
  private open: Call[] = [];
  private readonly wrongDetails: string[] = [];

  constructor(private readonly trainer: Trainer) {}

  track(what: string, outcome: Promise<CommitOutcome>): Call {
    const call: Call = {
      what,
      flight: undefined,
      allowed: undefined,
      ended: undefined,
      found: undefined,
      isAbandoned: false,
    };
    this.open.push(call);
    outcome.then(
      ({ state, detail, lostBy }) => {
        call.found = state === 'DROPPED' ? dropText(lostBy) : state;
        this.checkDetail(call, detail);
      },
      (error: unknown) => {
        call.found = error instanceof ShadowkeepError ? error.reason : `${(error as Error).stack}`;
      },
    );
    return call;
  }

  /** Each commit is as it should be, once nothing is under way. */
  check(): void {
    same(this.wrongDetails.join(), '', 'details');
    this.open = this.open.filter(({ what, allowed, ended, found, isAbandoned }) => {
      if (found !== undefined && (found === allowed || found === ended)) return false;
      if (found !== undefined || (!isAbandoned && (allowed ?? ended) !== undefined)) {
        expect.fail(`${what} ended with ${found}, not with ${allowed ?? ended}`);
      }
      return !isAbandoned;
    });
  }

  /** What is said of a step that is not finite is true. */
  private checkDetail({ flight, found }: Call, detail: string): void {
    if (flight === undefined || (found !== 'COMMITTED' && found !== 'REJECTED')) return;
    const [, name] = /^tensor "(.*)" is not finite at element \d+$/.exec(detail) ?? [];
    const names = this.trainer.generation.inFlight.notFiniteIn(flight);
    if (name === undefined ? names.size > 0 : !names.has(name)) {
      this.wrongDetails.push(`step ${flight.script.step}: ${detail}, not finite are [${[...names]}]`);
    }
  }
}
