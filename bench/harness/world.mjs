/** Most client processes of a trainer: the machine may have only two cores, and the service needs one of them. */
const PROCESSES_MAX = 2;

/** Streams on one connection: as many as the service allows. */
const STREAMS_MAX = 128;

/**
 * Starts a trainer of `writers` writers in at most two processes. They have opened the run and are ready to declare their
 * boxes. Each writer has a connection of its own, as in a training, unless they `share` connections.
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
    /** Seconds from sending the first declaration to the opening of the last writer. */
    open: async () => elapsed(await all('open')),
    /** Seconds from the first byte of the first step to the last acknowledgement of the last step. */
    push: async (steps) => elapsed(await all('push', { count: steps })),
    /** Pushes for `seconds`. Only for a trainer with one writer. */
    pushFor: async (seconds) => {
      const [pushed] = await all('push_for', { seconds });
      return { steps: pushed.steps, seconds: elapsed([pushed]) };
    },
  };
}

/** Seconds from the earliest begin of several processes to the latest end. */
function elapsed(spans) {
  return Math.max(...spans.map(({ ended }) => ended)) - Math.min(...spans.map(({ began }) => began));
}
