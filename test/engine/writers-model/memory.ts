import type { Run, Version } from '../../../src/engine/index.js';
import type { Ledger } from '../../../src/engine/memory/ledger.js';
import { same, sameAll } from '../model/compare.js';
import { SLOT_EXTRA_BYTES, type Trainer } from './trainer.js';
import type { Versions } from './versions.js';

/** What a run and one step in flight take, each page with its skew. */
export function neededBytes(run: Run): number {
  const { plane } = run.head.shadows[0]!;
  const pageBytes = plane.pageElements * plane.elementBytes;
  const pages = run.memory.shadowBytes / pageBytes + Math.ceil(run.firstStepBytes / pageBytes);
  return pages * (pageBytes + SLOT_EXTRA_BYTES);
}

/** Reference counts, the run's own account of its memory, and the ledger's; no fold may be under way. */
export function checkMemory(trainer: Trainer, versions: Versions, ledger: Ledger): void {
  const { run, pageBytes, generation } = trainer;
  const held = versions.readers.map(({ engine }) => engine.version);
  const live = [...new Set([...held, ...run.versions.filter(({ isRetained }) => isRetained), run.head])];
  const refs = countReferences(live);
  const headPages = [...run.head.pages()].length;
  const { shadowBytes, stagingBytes, pinnedBytes, freeBytes } = run.memory;
  same(shadowBytes, headPages * pageBytes, 'shadow bytes');
  same(pinnedBytes, (refs.size - headPages) * pageBytes, 'pinned bytes');
  // One step, or two where a writer ran ahead.
  const steps = generation.isBegun ? [1, 2] : [0];
  const allowed = steps.map((count) => count * trainer.stagingPages * pageBytes);
  same(allowed.includes(stagingBytes), true, `staging of ${allowed}, not ${stagingBytes}`);
  const pages = (shadowBytes + stagingBytes + pinnedBytes + freeBytes) / pageBytes;
  const boxBytes = ledger.usedBytes - pages * (pageBytes + SLOT_EXTRA_BYTES);
  same(boxBytes >= 0, true, `bytes of boxes are ${boxBytes}`);
  if (!generation.isBegun && generation.clients.every(({ stream }) => stream === undefined))
    same(boxBytes, 0, 'bytes of boxes');
  same(ledger.usedBytes <= ledger.budgetBytes, true, `${ledger.usedBytes} of ${ledger.budgetBytes} bytes`);
}

function countReferences(versions: readonly Version[]): Map<object, number> {
  const refs = new Map<object, number>();
  for (const version of versions) for (const page of version.pages()) refs.set(page, (refs.get(page) ?? 0) + 1);
  for (const version of versions) {
    const pages = [...version.pages()];
    same(new Set(pages).size, pages.length, 'different pages');
    sameAll(
      pages.map((page) => page.refs),
      pages.map((page) => refs.get(page)),
      'references of a page',
    );
  }
  return refs;
}
