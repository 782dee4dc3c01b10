import { setFlagsFromString } from 'node:v8';

/**
 * A server's heap is 12 MB and the messages beside it are gigabytes a second, in memory that V8 counts as external: 64
 * MiB of it, forty messages, start a marking of the whole heap, hundreds of times a minute, for nothing. Measured with
 * 16 steps of 256 MiB, seconds of user time of the server: Node 20 7.5 → 3.2, Node 24 6.5 → 2.8; docs/decisions/0002.
 *
 * Without incremental marking a marking is done in one piece of a few milliseconds, when it is due.
 */
const FLAGS = ['--no-incremental-marking'];

/** From Node 24 on: external memory counts towards the limit of the whole heap instead of one of its own. */
const FLAGS_SINCE_24 = ['--external-memory-accounted-in-global-limit'];

/** For the process of a server or of the shell, once it starts. V8's flags are not an API: a flag that is gone is one line on stderr. */
export function tuneGarbageCollector(): void {
  const major = Number(process.versions.node.split('.')[0]);
  for (const flag of major >= 24 ? [...FLAGS, ...FLAGS_SINCE_24] : FLAGS) setFlagsFromString(flag);
}
