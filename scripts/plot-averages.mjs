// Makes what is generated in docs/averages: the tables between the markers of its pages, and the plots. All numbers come
// from the built engine's own schedules, folded in float64 (`npm run build` first). `--check` writes nothing and fails when a file is stale.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { families } from './plot-averages.families.mjs';
import { effectiveWeights } from './plot-averages.fold.mjs';
import { drawPlot } from './plot-averages.svg.mjs';
import { blocksOf, overviewBlocks } from './plot-averages.tables.mjs';

const FOLDER = 'docs/averages';
const BLOCK = /(<!-- made: ([a-z-]+) -->\n)[\s\S]*?(<!-- end -->)/g;

/**
 * @param parts the exports of src/engine/averages/index.ts (`engine`), src/engine/post-hoc/fit.ts (`fits`) and
 *   src/client/presets/index.ts (`presets`)
 * @param read gives the present text of a path relative to the repository's root
 * @returns path → text of every file that has something generated
 */
export function render(parts, read) {
  const { engine } = parts;
  const all = families(engine);
  const files = new Map([[`${FOLDER}/README.md`, fill(read(`${FOLDER}/README.md`), overviewBlocks(parts, all))]]);
  for (const family of all) {
    const path = `${FOLDER}/${family.page}.md`;
    files.set(path, fill(read(path), blocksOf(parts, family)));
    files.set(
      `${FOLDER}/${family.page}.svg`,
      drawPlot(family.plot, (rule, to) => effectiveWeights(engine, rule, to)),
    );
  }
  return files;
}

/** Replaces each block by what is made for its name; a name without a block, or the reverse, is an error. */
function fill(page, blocks) {
  const unused = new Set(Object.keys(blocks));
  const filled = page.replace(BLOCK, (_, begin, name, end) => {
    if (!unused.delete(name)) throw new Error(`nothing is made for the block ${name}, or it is there twice`);
    return `${begin}\n${blocks[name]}\n\n${end}`;
  });
  if (unused.size > 0) throw new Error(`the page has no block for ${[...unused].join(', ')}`);
  return filled;
}

async function main() {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const load = (path) => import(pathToFileURL(join(root, 'dist', path)));
  const parts = {
    engine: await load('engine/averages/index.js'),
    fits: await load('engine/post-hoc/fit.js'),
    presets: await load('client/presets/index.js'),
  };
  const read = (path) => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : '');
  const isCheck = process.argv.includes('--check');
  for (const [path, text] of render(parts, read)) {
    if (read(path) === text) continue;
    console.log(isCheck ? `${path} is stale` : path);
    if (isCheck) process.exitCode = 1;
    else writeFileSync(join(root, path), text);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
