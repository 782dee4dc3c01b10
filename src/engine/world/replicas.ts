import type { PlacedTensor } from '../layout.js';
import type { BoxList } from './box-list.js';

/** A box that several writers hold. */
interface Replica {
  readonly elements: number;
  /** Who holds it, and its index in each one's boxes. */
  readonly members: { readonly writer: number; readonly index: number }[];
}

/** Boxes of replica groups: who holds them, and which of those sends. */
export class Replicas {
  readonly #tensors: readonly PlacedTensor[];
  readonly #replicas = new Map<string, Replica>();

  constructor(tensors: readonly PlacedTensor[]) {
    this.#tensors = tensors;
  }

  get isEmpty(): boolean {
    return this.#replicas.size === 0;
  }

  /** Says that a writer holds a box of a group too; false: it is the first one. One writer cannot be its own replica. */
  join(boxes: BoxList, index: number, writer: number): boolean {
    const key = this.#keyOf(boxes, index);
    const replica = this.#replicas.get(key);
    if (replica === undefined) {
      const elements = boxes.elements(index, this.#tensors[boxes.tensor[index]!]!);
      this.#replicas.set(key, { elements, members: [{ writer, index }] });
      return false;
    }
    if (replica.members.some((member) => member.writer === writer)) return false;
    replica.members.push({ writer, index });
    return true;
  }

  /** Says that a writer holds it no more; true: others still do. */
  leave(boxes: BoxList, index: number, writer: number): boolean {
    const key = this.#keyOf(boxes, index);
    const replica = this.#replicas.get(key);
    const at = replica?.members.findIndex((member) => member.writer === writer && member.index === index) ?? -1;
    // A second box of a writer that has it already was never a member.
    if (replica === undefined || at < 0) return false;
    replica.members.splice(at, 1);
    if (replica.members.length > 0) return true;
    this.#replicas.delete(key);
    return false;
  }

  /**
   * Which boxes each writer leaves to others: of each box one member sends, the largest boxes first, each by the member
   * that has the least to send so far. `sent` are the elements that each writer sends anyway.
   */
  leftOut(sent: readonly number[]): ReadonlyMap<number, ReadonlySet<number>> {
    const load = [...sent];
    const left = new Map<number, Set<number>>();
    for (const { elements, members } of [...this.#replicas.values()].sort((a, b) => b.elements - a.elements)) {
      const sorted = members.toSorted((a, b) => load[a.writer]! - load[b.writer]! || a.writer - b.writer);
      for (const [rank, { writer, index }] of sorted.entries()) {
        if (rank === 0) {
          load[writer]! += elements;
          continue;
        }
        const indices = left.get(writer) ?? new Set();
        left.set(writer, indices.add(index));
      }
    }
    return left;
  }

  /** The same box of the same group has the same key. */
  #keyOf(boxes: BoxList, index: number): string {
    const { offset, extent } = boxes.place(index, this.#tensors[boxes.tensor[index]!]!);
    const place = [boxes.tensor[index], boxes.replicaGroup[index], ...Array.from(offset), ...Array.from(extent)];
    return place.join();
  }
}
