import { assert } from './assert.js';
import { ShadowkeepError } from './errors.js';
import { PATTERN_STAR_CHARS_MAX, PATTERN_WORK_MAX } from './limits.js';

/*
 * Many name patterns in one automaton, so that a name costs about its length, however many patterns there are. `*` matches
 * any run of characters, everything else itself:
 *
 *   a.b.c        a literal: looked up
 *   a.*c         its tail is looked up from the name's end, then its head is compared
 *   a.*          without a tail: its head is looked up from the name's beginning
 *   a*b*c*d      its inner parts b, c are found, all patterns' at once, by one walk over the name (Aho and Corasick 1975:
 *                a trie, and for each place in it the longest of its endings that is a place too); each is taken where it
 *                first comes behind the one before it
 */

/** Code units are 16 bits: a node and one of them make a key. */
const UNIT_COUNT = 65_536;

/** Characters between two yields while patterns are compiled. */
const SLICE_CHARS = 4_096;

/** Work between two yields, in characters looked at: well under a millisecond. */
const SLICE_WORK = 1 << 15;

/** Things with names: an array of them, or whatever makes them one by one. */
export interface NamedList extends Iterable<{ readonly name: string }> {
  readonly length: number;
}

/**
 * Visits each pattern of each name that it matches, name by name. Yields between slices. Throws INVALID_FIELD, saying
 * `what`, when the patterns are too many characters, or would cost more than PATTERN_WORK_MAX.
 */
export function* matchAll(
  patterns: readonly string[],
  names: NamedList,
  what: string,
  visit: (name: number, pattern: number) => void,
): Generator<void> {
  if (patterns.length === 0) return;
  const starChars = patterns.reduce((sum, pattern) => sum + (pattern.includes('*') ? pattern.length : 0), 0);
  if (starChars > PATTERN_STAR_CHARS_MAX) {
    throw refused(
      what,
      `with stars have ${starChars} characters together, at most ${PATTERN_STAR_CHARS_MAX} are allowed`,
    );
  }
  const compiled = yield* NamePatterns.compile(patterns);
  let total = 0;
  let slice = 0;
  let index = -1;
  for (const { name } of names) {
    index += 1;
    const work = compiled.match(name, (pattern) => visit(index, pattern));
    total += work;
    slice += work;
    if (total > PATTERN_WORK_MAX) {
      const done = `${patterns.length} patterns over ${names.length} tensors cost ${total} comparisons for the first ${index + 1}`;
      throw refused(what, `are too much work: ${done}, at most ${PATTERN_WORK_MAX} are allowed for all`);
    }
    if (slice < SLICE_WORK) continue;
    slice = 0;
    yield;
  }
}

function refused(what: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_FIELD', `${what} ${problem}`, { metadata: { field: what } });
}

/** A trie in one map: no object for a node, of which there is one for each character of the patterns. */
class Trie {
  readonly #next = new Map<number, number>();
  /** The parts of patterns that end at a node. */
  readonly ends = new Map<number, number[]>();
  nodeCount = 1;

  /** From the end of the text where `isReversed`. */
  add(text: string, value: number, isReversed = false): void {
    let node = 0;
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(isReversed ? text.length - 1 - index : index);
      const key = node * UNIT_COUNT + unit;
      let next = this.#next.get(key);
      if (next === undefined) {
        next = this.nodeCount++;
        this.#next.set(key, next);
      }
      node = next;
    }
    const ends = this.ends.get(node);
    if (ends === undefined) this.ends.set(node, [value]);
    else ends.push(value);
  }

  step(node: number, unit: number): number | undefined {
    return this.#next.get(node * UNIT_COUNT + unit);
  }

  /** Each edge, those of a node before those of the nodes behind it that were made later. */
  edges(): IterableIterator<[number, number]> {
    return this.#next.entries();
  }
}

/** A pattern with stars, in parts. */
interface Wild {
  readonly pattern: number;
  readonly head: string;
  readonly inner: readonly string[];
  readonly tail: string;
}

/** An inner part of a pattern: the `place`-th of them. */
interface InnerPart {
  readonly wild: number;
  readonly place: number;
}

/** Finds the patterns that match a name. */
export type VisitPattern = (pattern: number) => void;

export class NamePatterns {
  readonly #literals = new Map<string, number[]>();
  readonly #wilds: Wild[] = [];
  /** Patterns without inner parts, by their tails, and those without a tail by their heads. */
  readonly #tails = new Trie();
  readonly #heads = new Trie();
  /** The inner parts, and who has them. */
  readonly #inner = new Trie();
  readonly #partIds = new Map<string, number>();
  readonly #partLengths: number[] = [];
  readonly #partOwners: InnerPart[][] = [];
  /**
   * For each node: its longest ending that is a node, too, and the nearest node on the way through such endings where a
   * part ends.
   */
  #fail = new Int32Array(1);
  #output = new Int32Array(1);
  /** The inner part of a pattern that the present name must have next, and behind what. Another name begins anew. */
  #stamp = new Uint32Array(0);
  #place = new Uint32Array(0);
  #from = new Uint32Array(0);
  #nameNumber = 0;

  private constructor() {}

  /** Yields between slices. */
  static *compile(patterns: readonly string[]): Generator<void, NamePatterns> {
    const compiled = new NamePatterns();
    let chars = 0;
    for (const [index, pattern] of patterns.entries()) {
      compiled.#add(pattern, index);
      chars += pattern.length;
      if (chars < SLICE_CHARS) continue;
      chars = 0;
      yield;
    }
    yield* compiled.#link();
    const count = compiled.#wilds.length;
    compiled.#stamp = new Uint32Array(count);
    compiled.#place = new Uint32Array(count);
    compiled.#from = new Uint32Array(count);
    return compiled;
  }

  /** Visits each pattern that matches, once, in no order. Returns how much work it was, in about characters looked at. */
  match(name: string, visit: VisitPattern): number {
    this.#nameNumber += 1;
    let work = name.length + 1;
    for (const pattern of this.#literals.get(name) ?? []) {
      visit(pattern);
      work += 1;
    }
    work += this.#matchEnds(this.#tails, name, true, visit);
    work += this.#matchEnds(this.#heads, name, false, visit);
    if (this.#inner.nodeCount > 1) work += this.#matchInner(name, visit);
    return work;
  }

  #add(pattern: string, index: number): void {
    if (!pattern.includes('*')) {
      const same = this.#literals.get(pattern);
      if (same === undefined) this.#literals.set(pattern, [index]);
      else same.push(index);
      return;
    }
    const [head = '', ...inner] = pattern.split(/\*+/);
    const tail = inner.pop() ?? '';
    const wild = this.#wilds.length;
    this.#wilds.push({ pattern: index, head, inner, tail });
    if (inner.length > 0) for (const [place, part] of inner.entries()) this.#addPart(part, { wild, place });
    else if (tail !== '') this.#tails.add(tail, wild, true);
    else this.#heads.add(head, wild);
  }

  #addPart(part: string, owner: InnerPart): void {
    let id = this.#partIds.get(part);
    if (id === undefined) {
      id = this.#partOwners.length;
      this.#partIds.set(part, id);
      this.#partLengths.push(part.length);
      this.#partOwners.push([]);
      this.#inner.add(part, id);
    }
    this.#partOwners[id]!.push(owner);
  }

  /** Links each node of the inner parts to the longest of its endings, nearest to the root first. */
  *#link(): Generator<void> {
    const trie = this.#inner;
    const children: { node: number; unit: number; child: number }[] = [];
    const depth = new Uint32Array(trie.nodeCount);
    // A node is made after its parent, so each parent's depth is known.
    for (const [key, child] of trie.edges()) {
      const node = Math.floor(key / UNIT_COUNT);
      depth[child] = depth[node]! + 1;
      children.push({ node, unit: key % UNIT_COUNT, child });
      if (children.length % SLICE_CHARS === 0) yield;
    }
    children.sort((a, b) => depth[a.child]! - depth[b.child]!);
    yield;
    this.#fail = new Int32Array(trie.nodeCount);
    this.#output = new Int32Array(trie.nodeCount);
    for (const [index, { node, unit, child }] of children.entries()) {
      const fail = node === 0 ? 0 : this.#stepInner(this.#fail[node]!, unit);
      this.#fail[child] = fail;
      this.#output[child] = trie.ends.has(fail) ? fail : this.#output[fail]!;
      if (index % SLICE_CHARS === 0) yield;
    }
  }

  #stepInner(from: number, unit: number): number {
    for (let node = from; ; node = this.#fail[node]!) {
      const next = this.#inner.step(node, unit);
      if (next !== undefined) return next;
      if (node === 0) return 0;
    }
  }

  /** The patterns without inner parts whose tail the name ends with, or whose head it begins with. */
  #matchEnds(trie: Trie, name: string, isReversed: boolean, visit: VisitPattern): number {
    let node: number | undefined = 0;
    let work = 0;
    for (let done = 0; ; done++) {
      for (const wild of trie.ends.get(node) ?? []) {
        const { pattern, head, tail } = this.#wilds[wild]!;
        if (name.length >= head.length + tail.length && name.startsWith(head)) visit(pattern);
        work += 1;
      }
      if (done === name.length) return work;
      node = trie.step(node, name.charCodeAt(isReversed ? name.length - 1 - done : done));
      if (node === undefined) return work;
    }
  }

  #matchInner(name: string, visit: VisitPattern): number {
    let node = 0;
    let work = 0;
    for (let end = 1; end <= name.length; end++) {
      node = this.#stepInner(node, name.charCodeAt(end - 1));
      let found = this.#inner.ends.has(node) ? node : this.#output[node]!;
      for (; found !== 0; found = this.#output[found]!) {
        const part = this.#inner.ends.get(found)?.[0];
        assert(part !== undefined, 'a part ends there');
        work += 1 + this.#partOwners[part]!.length;
        for (const owner of this.#partOwners[part]!)
          this.#takePart(owner, end - this.#partLengths[part]!, end, name, visit);
      }
    }
    return work;
  }

  /** An inner part of a pattern lies from `begin` to `end`: the pattern takes it when it is the one that it waits for. */
  #takePart({ wild, place }: InnerPart, begin: number, end: number, name: string, visit: VisitPattern): void {
    const { pattern, head, inner, tail } = this.#wilds[wild]!;
    if (this.#stamp[wild] !== this.#nameNumber) {
      this.#stamp[wild] = this.#nameNumber;
      this.#place[wild] = 0;
      this.#from[wild] = head.length;
    }
    if (this.#place[wild] !== place || begin < this.#from[wild]!) return;
    this.#place[wild] = place + 1;
    this.#from[wild] = end;
    if (place + 1 < inner.length || end > name.length - tail.length) return;
    if (name.startsWith(head) && name.endsWith(tail)) visit(pattern);
  }
}
