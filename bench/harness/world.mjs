/** The client processes of a trainer: the machine may have two cores, and a service that is busy has one of them. */
const PROCESSES_MAX = 2;

/** Streams that a connection carries, of the service's 128. */
const STREAMS_MAX = 128;

/**
 * A trainer of `writers` writers, all held by at most two processes, which have opened its run and are ready to declare
 * their boxes. Each writer has a connection of its own, as it has in a training, unless they `share` connections.
 *
 * @param {{ peer(script: string): any }} start
 * @param {{ target: string, run: string, model: object, writers: number, share?: boolean }} trainer
 */
export async function startWorld(start, { target, run, model, writers, share = false }) {
  const count = Math.min(writers, PROCESSES_MAX);
  const clients = Array.from({ length: count }, () => start.peer('writers.mjs'));
  const all = (command, options) => Promise.all(clients.map((client) => client.call(command, options)));
  const prepared = await Promise.all(
    clients.map((client, index) => {
      const first = Math.floor((writers * index) / count);
      const last = Math.floor((writers * (index + 1)) / count);
      const connections = share ? Math.ceil((last - first) / STREAMS_MAX) : last - first;
      return client.call('prepare', { target, run, model, writers, first, last, connections });
    }),
  );
  return {
    pids: clients.map(({ pid }) => pid),
    openBytes: prepared.reduce((sum, { open_bytes: bytes }) => sum + bytes, 0),
    /** Seconds from the first declaration that is sent to the last writer that is open. */
    open: async () => elapsed(await all('open')),
    /** Seconds from the first byte of the first step to the last acknowledgement of the last one. */
    push: async (steps) => elapsed(await all('push', { count: steps })),
    /** Pushes for so many seconds; only of one writer. */
    pushFor: async (seconds) => {
      const [pushed] = await all('push_for', { seconds });
      return { steps: pushed.steps, seconds: elapsed([pushed]) };
    },
  };
}

/** From the first of several processes that began to the last that ended. */
function elapsed(spans) {
  return Math.max(...spans.map(({ ended }) => ended)) - Math.min(...spans.map(({ began }) => began));
}
