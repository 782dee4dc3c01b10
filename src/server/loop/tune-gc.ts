import { setFlagsFromString } from 'node:v8';

/**
 * A server has a heap of 12 MB and receives gigabytes of messages a second, in memory that V8 counts as external. Each
 * 64 MiB of it, forty messages, make V8 mark the whole heap, hundreds of times a minute, for nothing. Measured with 16
 * steps of 256 MiB, seconds of user time of the server: Node 20 7.5 → 3.2, Node 24 6.5 → 2.8 (docs/decisions/0002).
 *
 * Without incremental marking V8 marks the heap in one piece of a few milliseconds, when a collection is due.
 */
const FLAGS = ['--no-incremental-marking'];

/** From Node 24 on, this flag counts external memory towards the limit of the whole heap, not a limit of its own. */
const FLAGS_SINCE_24 = ['--external-memory-accounted-in-global-limit'];

/**
 * Sets V8's flags for a process of the server or of the command line, when it starts. V8's flags are not an API: V8
 * answers a flag that it does not have any more with a line on stderr and goes on.
 */
export function tuneGarbageCollector(): void {
  const major = Number(process.versions.node.split('.')[0]);
  for (const flag of major >= 24 ? [...FLAGS, ...FLAGS_SINCE_24] : FLAGS) setFlagsFromString(flag);
}
