/*
 * Loaded into a server (`node --import`): counts its work. V8 counts how often each block of the program has run; the
 * counts are read, and begin anew, at each yield of work in slices and in each turn of the event loop. So the largest one
 * says how often something was done in one go, whichever code it was.
 *
 * The parent says 'begin', then 'end', and is told the largest.
 */
import { Session } from 'node:inspector';

/** The program itself: neither its dependencies nor Node. */
const PROGRAM = /\/dist\/(common|engine|server|wire)\//;

const session = new Session();
session.connect();
let largest;

function look() {
  session.post('Profiler.takePreciseCoverage', (error, coverage) => {
    if (error !== null) throw new Error(error.message);
    for (const { url, functions } of coverage.result) {
      if (PROGRAM.test(url)) for (const found of functions) see(url, found);
    }
  });
}

function see(url, { functionName, ranges }) {
  for (const { count, startOffset } of ranges) {
    if (count <= largest.count) continue;
    const file = url.replace(/^.*\/dist\//, '');
    largest = { count, where: `${functionName} of ${file} at ${startOffset}` };
  }
}

/** Work in slices yields nothing; a generator that gives something is a list. */
const prototype = Object.getPrototypeOf(Object.getPrototypeOf((function* () {})()));
const { next } = prototype;
let depth = 0;
prototype.next = function (...input) {
  depth += 1;
  try {
    const result = next.apply(this, input);
    if (depth === 1 && largest !== undefined && !result.done && result.value === undefined) look();
    return result;
  } finally {
    depth -= 1;
  }
};

function turn() {
  if (largest === undefined) return;
  look();
  setImmediate(turn);
}

process.on('message', (message) => {
  if (message === 'begin') {
    session.post('Profiler.enable');
    session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    largest = { count: 0, where: '' };
    session.post('Profiler.takePreciseCoverage');
    turn();
  } else {
    session.post('Profiler.stopPreciseCoverage');
    process.send(largest);
    largest = undefined;
  }
});
process.channel.unref();
