import type { PagePool } from '../memory/page-pool.js';
import type { PageTable, Plane } from '../memory/plane.js';

/** A kept state of one power-function average, in a dtype of its own. */
export class Snapshot {
  readonly average: string;
  readonly gamma: number;
  readonly step: number;
  /** Length of the average's profile: updates or the trainer's steps, as it counts. */
  readonly time: number;
  readonly plane: Plane;
  readonly table: PageTable;
  readonly #pool: PagePool;
  #holders = 0;

  constructor(pool: PagePool, fields: Pick<Snapshot, 'average' | 'gamma' | 'step' | 'time' | 'plane' | 'table'>) {
    this.#pool = pool;
    this.average = fields.average;
    this.gamma = fields.gamma;
    this.step = fields.step;
    this.time = fields.time;
    this.plane = fields.plane;
    this.table = fields.table;
  }

  /** A version that knows it begins. */
  hold(): void {
    this.#holders += 1;
  }

  /** A version that knew it has ended; the last one frees the pages. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.free();
  }

  /** Gives the pages back; for who has it to itself. */
  free(): void {
    for (const page of this.table) if (page !== undefined) this.#pool.free(page);
  }
}
