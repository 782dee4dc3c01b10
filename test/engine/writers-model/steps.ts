import type { FloatDType } from '../../../src/common/index.js';

/** A step as the trainer sends it. */
export interface ScriptStep {
  readonly step: number;
  /** Of all writers together, in this wire dtype. */
  readonly space: Buffer;
  readonly wireDType: FloatDType | undefined;
  readonly isInitial: boolean;
  readonly isSkipped: boolean;
  /** The writer whose part is another one than before, where the step is sent again. */
  readonly altered: number | undefined;
}

/** A commit of a writer: how it may end, once that is decided, and how it did. */
export interface Call {
  readonly what: string;
  /** The step that it takes part in; undefined: none that is put together. */
  flight: Flight | undefined;
  allowed: string | undefined;
  /** What ended all streams meanwhile. */
  ended: string | undefined;
  found: string | undefined;
  /** Nobody is left to be told. */
  isAbandoned: boolean;
}

/** A step that is put together. */
export interface Flight {
  readonly script: ScriptStep;
  readonly parts: Set<number>;
  readonly whole: Set<number>;
  readonly calls: Call[];
  outcome: string | undefined;
  /** Names of tensors that are not finite, once that was asked for. */
  notFinite: ReadonlySet<string> | undefined;
}

/** Where the part goes that a writer is sending. */
export type Target = Flight | 'REPLAYED' | 'DROPPED' | { readonly repeated: Flight };

/** What a writer is sending. */
export interface Receiving {
  readonly step: number;
  target: Target;
  bytes: number;
}
