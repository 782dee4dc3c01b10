import type * as presets from '../src/client/presets/index.js';
import type * as engine from '../src/engine/averages/index.js';
import type * as fits from '../src/engine/post-hoc/fit.js';

/** Path relative to the repository's root → text, of every file of docs/averages that has something generated. */
export function render(
  parts: { engine: typeof engine; fits: typeof fits; presets: typeof presets },
  read: (path: string) => string,
): Map<string, string>;
