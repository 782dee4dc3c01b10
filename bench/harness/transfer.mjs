import { interleave, ratios } from './pairs.mjs';
import { withProcesses } from './processes.mjs';

/** The speed of a transfer that a peer reports, gigabytes (10⁹ bytes) per second. */
const gbps = ({ seconds, bytes }) => bytes / seconds / 1e9;

/** The model of `ingest` and `pull`: float32 tensors of mixed sizes, thousands of them under 4 KiB. */
export function transferModel(quick) {
  return quick ? { total_bytes: 8 << 20, small_count: 50 } : { total_bytes: 1 << 30, small_count: 5_000 };
}

/**
 * Moves the same bytes with different systems, whose clients are all Python processes on this machine, and compares them.
 *
 * @param {'push' | 'pull'} command
 * @param {number} count steps or reads in one measurement
 * @param {(keyof typeof SYSTEMS)[]} names the systems to measure, Shadowkeep first
 */
export async function compareTransfers(context, command, count, names) {
  const model = transferModel(context.quick);
  return await withProcesses(context, async (start) => {
    const contenders = {};
    for (const name of names) {
      context.progress(`starting ${name}`);
      const { client, options } = await SYSTEMS[name](start, model);
      contenders[name] = async () => gbps(await client.call(command, { count, ...options }));
    }
    const measured = await interleave(context.pairs, contenders, context.progress);
    const samples = {};
    for (const name of names) samples[`${name}_gbps`] = measured[name];
    for (const name of names.slice(1)) samples[`vs_${name}`] = ratios(measured.shadowkeep, measured[name]);
    return { samples, setup: { ...model, [command === 'push' ? 'steps' : 'reads']: count, checksums: false } };
  });
}

/** For each system: starts a server and a client, prepares them, and returns the client and options for its command. */
const SYSTEMS = {
  shadowkeep: (start, model) => startShadowkeep(start, model),
  stock_window: (start, model) => startShadowkeep(start, model, ['--window-bytes', '0']),
  fresh_memory: async (start, model) => ({ ...(await startShadowkeep(start, model)), options: { reuse: false } }),
  tcp: (start, model) => startPeer(start, model, 'tcp.py', 'tcp.py'),
  python_grpc: (start, model) => startPeer(start, model, 'grpc_server.py', 'grpc_client.py', { kind: 'stubs' }),
  bare_grpc: (start, model) => startPeer(start, model, 'grpc_server.py', 'grpc_client.py', { kind: 'bare' }),
};

async function startShadowkeep(start, model, flags = []) {
  const { target } = await start.server(flags);
  const client = start.peer('shadowkeep_client.py');
  await client.call('connect', { target });
  await client.call('open_mixed', model);
  return { client };
}

async function startPeer(start, { total_bytes }, serverScript, clientScript, kind = {}) {
  const port = await start.peer(serverScript).call('listen', { total_bytes, ...kind });
  const client = start.peer(clientScript);
  await client.call('connect', { port, total_bytes, ...kind });
  return { client };
}
