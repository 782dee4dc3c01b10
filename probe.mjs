// node /tmp/wt/me/probe.mjs REPO [--tries N] [--tensors N] [--prof DIR] [NAME…]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
const { values, positionals } = parseArgs({ allowPositionals: true, options: { tries: { type: 'string' }, tensors: { type: 'string' }, prof: { type: 'string' }, memory: { type: 'string' } } });
const [REPO, ...only] = positionals;
const TRIES = Number(values.tries ?? 3), T = Number(values.tensors ?? 65536);
const require = createRequire(`${REPO}/package.json`);
const { credentials, loadPackageDefinition } = require('@grpc/grpc-js');
const { packageDefinition, shadowWeightsDefinition } = await import(`${REPO}/dist/wire/index.js`);
const WATCH = process.env.WATCH ?? '/tmp/wt/loop/bench/peers/loop-watch.mjs';

class Server {
  async start(flags = []) {
    const prof = values.prof ? ['--cpu-prof', `--cpu-prof-dir=${values.prof}`, '--cpu-prof-interval=500'] : [];
    this.child = spawn(process.execPath, [...prof, '--import', WATCH, `${REPO}/dist/main.js`, 'serve', '--json', '--listen', '127.0.0.1:0', '--data-dir', 'none', '--log-level', 'error', '--memory', values.memory ?? '6GiB', ...flags], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    this.exited = once(this.child, 'exit');
    this.exited.then(([code, sig]) => { if (!this.stopping) console.log('SERVER ENDED', code, sig); });
    const [line] = await once(this.child.stdout, 'data');
    const { listening } = JSON.parse(String(line).split('\n')[0]);
    const { ShadowWeights } = loadPackageDefinition(packageDefinition).shadowkeep.v1;
    this.client = new ShadowWeights(listening, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
    return this;
  }
  ask(method, request) { return new Promise((ok, no) => this.client[method](request, (e, r) => e ? no(e) : ok(r))); }
  async hold(action) {
    this.child.send('begin');
    await new Promise((r) => setTimeout(r, 50));
    const t = performance.now();
    try { await action(); } catch (e) { this.error = e; }
    const took = performance.now() - t;
    await new Promise((r) => setTimeout(r, 150));
    this.child.send('end');
    const [m] = await once(this.child, 'message');
    return { ...m, took };
  }
  async stop() { this.stopping = true; this.client.close(); this.child.kill('SIGTERM'); await this.exited; }
}
class Up {
  constructor(s) { this.stream = s.client.update(); this.q = []; this.stream.on('data', (m) => { this.q.push(m); this.wake?.(); }); this.stream.on('error', (e) => { this.err = e; this.wake?.(); }); this.stream.on('end', () => { this.done = true; this.wake?.(); }); }
  send(m) { this.stream.write(m); return this; }
  async next() { for (;;) { if (this.q.length) return this.q.shift(); if (this.err) throw this.err; if (this.done) throw new Error('ended'); await new Promise((r) => { this.wake = r; }); } }
  async end() { this.stream.end(); while (!this.done) { if (this.err) throw this.err; await new Promise((r) => { this.wake = r; }); } }
  async push(step, bytes, fill = 1, data) {
    for (let o = 0; o < bytes; o += 1 << 20) this.send({ chunk: { step, offset: o, data: data ?? Buffer.alloc(Math.min(1 << 20, bytes - o), fill) } });
    this.send({ commit: { step, bytes } });
    const m = await this.next(); if (m.ack?.state !== 'COMMITTED' && process.env.VERBOSE) console.log(m);
  }
}
const name = (i, chars) => 'layer.'.repeat(100).slice(0, chars - 6) + String(i).padStart(6, '0');
const tensors = (chars = 100, shape = [4, 4], n = T) => Array.from({ length: n }, (_, i) => ({ name: name(i, chars), dtype: 'F32', shape }));
const mean = (extra = {}, n = 'a0') => ({ name: n, start: 'FIRST', mean: {}, ...extra });
const base = (run, extra = {}) => ({ run, tensors: tensors(), averages: [mean()], ...extra });
const many = () => Array.from({ length: 16 }, (_, a) => mean({ include: ['*', ...Array.from({ length: 511 }, (_, p) => `*${String((a * 511 + p) % T).padStart(6, '0')}`)] }, `a${a}`));
// Each leaves out another tensor: fold plans differ.
const excluding = () => Array.from({ length: 16 }, (_, a) => mean({ exclude: Array.from({ length: 512 }, (_, p) => `*${String((a * 512 + p) % T).padStart(6, '0')}`).slice(0, 500) }, `a${a}`));
const rows = (writer = 0, writers = 1, group = 0) => Array.from({ length: 4 * T }, (_, i) => ({ tensor: i >> 2, offset: [i & 3, 0], extent: [1, 4], replica_group: group }));
const read = async (s, req) => { let n = 0; for await (const m of s.client.getShadow(req)) if (m.chunk) n += m.chunk.data.length; return n; };
let id = 0;
const fresh = () => `r${id++}`;
const del = (s, run) => s.ask('DeleteRun', { run }).catch((e) => console.log('del', e.details));
async function opened(s, request, boxes, extra = {}) {
  const { generation } = await s.ask('OpenRun', request);
  const up = new Up(s).send({ open: { run: request.run, generation, ...(boxes && { boxes }), ...extra } });
  const m = await up.next();
  return { up, generation, bytes: m.opened.first_step_bytes, next: m.opened.step_bytes };
}
async function partsOpen(s, request, each) {
  await new Promise((ok, no) => {
    const call = s.client.OpenRunInParts((e, r) => e ? no(e) : ok(r));
    (async () => {
      const { tensors: all, ...rest } = request;
      for (let i = 0; i < all.length; i += each) {
        const m = { ...(i === 0 ? rest : {}), tensors: all.slice(i, i + each) };
        if (!call.write(m)) await once(call, 'drain');
      }
      call.end();
    })();
  });
}
const S = {
  async open(s, hold) { const r = base(fresh()); await hold(() => s.ask('OpenRun', r)); await del(s, r.run); },
  async open_parts(s, hold) { const r = base(fresh(), { tensors: tensors(512, [2, 2, 2, 2]) }); await hold(() => partsOpen(s, r, 1400)); await hold.as('open_parts_again', () => partsOpen(s, r, 1400)); await hold.as('delete_parts', () => del(s, r.run)); },
  async open_16(s, hold) { const r = base(fresh(), { averages: many() }); await hold(() => s.ask('OpenRun', r)); await hold.as('get_run_16', () => s.ask('GetRun', { run: r.run })); await hold.as('list_16', () => s.ask('ListRuns', {})); await hold.as('delete_16', () => del(s, r.run)); },
  async reorder(s, hold) { const r = base(fresh()); await s.ask('OpenRun', r); const q = { ...r, tensors: r.tensors.toReversed() }; await hold(() => s.ask('OpenRun', q)); await del(s, r.run); },
  async update_whole(s, hold) { const r = base(fresh()); const { generation } = await s.ask('OpenRun', r); const up = new Up(s); await hold(() => up.send({ open: { run: r.run, generation } }).next()); await hold.as('first_commit', () => up.push(1, 64 * T)); await hold.as('second_commit', () => up.push(2, 64 * T)); await up.end(); await hold.as('get_run', () => s.ask('GetRun', { run: r.run })); await hold.as('read_first', () => read(s, { run: r.run })); await hold.as('read_second', () => read(s, { run: r.run })); await hold.as('read_f16', () => read(s, { run: r.run, dtype: 'F16' }));
    const boxes = Array.from({ length: T }, (_, i) => ({ tensor: i })); await hold.as('read_boxes', () => read(s, { run: r.run, boxes })); const b2 = Array.from({ length: Math.min(T, 65536) }, (_, i) => ({ tensor: i, offset: [1, 0], extent: [1, 4] })); await hold.as('read_boxes_2', () => read(s, { run: r.run, boxes: b2 }));
    const names = ['*', ...Array.from({ length: 1000 }, (_, p) => `*${String(p % T).padStart(6, '0')}`)]; await hold.as('read_names', () => read(s, { run: r.run, names }));
    await hold.as('add_average', () => s.ask('AddAverage', { run: r.run, average: mean({ include: names }, 'b') })); await hold.as('delete', () => del(s, r.run)); },
  async update_boxes(s, hold) { const r = base(fresh()); const { generation } = await s.ask('OpenRun', r); const boxes = rows(); const up = new Up(s); let n; await hold(async () => { n = (await up.send({ open: { run: r.run, generation, boxes } }).next()).opened.step_bytes; }); await hold.as('boxes_commit', () => up.push(1, n)); await hold.as('boxes_commit_2', () => up.push(2, n)); await up.end(); await del(s, r.run); },
  async update_replicas(s, hold) { const r = base(fresh(), { writers: 2, incarnation: 'x' }); const { generation } = await s.ask('OpenRun', r); const boxes = rows(0, 1, 7); const a = new Up(s), b = new Up(s); await hold.as('replicas_first', async () => { a.send({ open: { run: r.run, generation, boxes, writer: 0 } }); await new Promise((ok) => setTimeout(ok, 3000)); }); await hold(async () => { b.send({ open: { run: r.run, generation, boxes, writer: 1 } }); await a.next(); await b.next(); }); await Promise.all([a.end(), b.end()]); await hold.as('replicas_close', () => new Promise((r) => setTimeout(r, 100))); await del(s, r.run); },
  async withdraw(s, hold) { const r = base(fresh(), { writers: 2, incarnation: 'x' }); const { generation } = await s.ask('OpenRun', r); const boxes = rows(0, 1, 7); const a = new Up(s); a.send({ open: { run: r.run, generation, boxes, writer: 0 } }); await new Promise((ok) => setTimeout(ok, 3000)); await hold(async () => { a.stream.cancel(); await new Promise((ok) => setTimeout(ok, 500)); }); await del(s, r.run); },
  async corners(s, hold) { const n = Number(process.env.CORNERS ?? 8000); const r = { run: fresh(), tensors: [{ name: "x", dtype: "U8", shape: Array(8).fill(12), policy: 'COPY' }], averages: [mean()] }; r.tensors.push({ name: 'w', dtype: 'F32', shape: [4] }); const { generation } = await s.ask('OpenRun', r); const boxes = Array.from({ length: n }, (_, i) => ({ tensor: 0, offset: Array.from({ length: 8 }, (_, d) => (i >> d) & 1 ? 1 + (i % 3) : (Math.imul(i * 8 + d + 1, 2654435761) >>> 8) % 9), extent: Array(8).fill(2) })); const up = new Up(s); await hold(() => up.send({ open: { run: r.run, generation, boxes } }).next()); if (process.env.VERBOSE) console.log(s.error?.details); await del(s, r.run); },
  async averages_commit(s, hold) { const r = base(fresh(), { averages: excluding() }); const { up, bytes } = await opened(s, r); await hold(() => up.push(1, bytes)); await hold.as('averages_commit_2', () => up.push(2, bytes)); await up.end(); await hold.as('averages_read', () => read(s, { run: r.run, average: 'a3' })); await del(s, r.run); },
  async skip_tensor(s, hold) { const r = base(fresh(), { non_finite: 'SKIP_TENSOR', averages: excluding() }); const { up, bytes } = await opened(s, r); await up.push(1, bytes); const nan = Buffer.alloc(1 << 20, 0xff); await hold(() => up.push(2, bytes, 0, T >= 16384 ? nan : undefined)); await up.end(); await del(s, r.run); },
  async mixed(s, hold) { const r = base(fresh(), { tensors: tensors().map((t, i) => i % 2 ? t : { ...t, dtype: 'I64' }), averages: [mean(), mean({}, 'b')] }); const { up, bytes } = await opened(s, r); await hold.as('mixed_commit', () => up.push(1, bytes)); await hold.as('mixed_commit_2', () => up.push(2, bytes)); await up.end(); await del(s, r.run); },
  async columns(s, hold) { const N = 1 << 21; const r = { run: fresh(), tensors: [{ name: 'u', dtype: 'U8', shape: [N, 2] }, { name: 'w', dtype: 'F32', shape: [4] }], averages: [mean()] }; const boxes = [{ tensor: 0, offset: [0, 0], extent: [N, 1] }, { tensor: 0, offset: [0, 1], extent: [N, 1] }, { tensor: 1 }]; const { up, bytes } = await opened(s, r, boxes);
    const chunks = async (step) => { for (let o = 0; o < bytes; o += 4190208) up.send({ chunk: { step, offset: o, data: Buffer.alloc(Math.min(4190208, bytes - o), 1) } }); up.send({ commit: { step, bytes } }); await up.next(); };
    await hold(() => chunks(1)); await hold.as('columns_2', () => chunks(2)); await hold.as('columns_replay', () => chunks(2)); await up.end(); await hold.as('columns_read', () => read(s, { run: r.run, boxes, chunk_bytes: 4190208 })); await del(s, r.run); },
  async f32_columns(s, hold) { const N = 1 << 20; const r = { run: fresh(), tensors: [{ name: 'u', dtype: 'F32', shape: [N, 2] }], averages: [mean()] }; const boxes = [{ tensor: 0, offset: [0, 0], extent: [N, 1] }, { tensor: 0, offset: [0, 1], extent: [N, 1] }]; const { up, bytes } = await opened(s, r, boxes); await hold(() => up.push(1, bytes)); await hold.as('f32_columns_2', () => up.push(2, bytes)); await up.end(); await hold.as('f32_columns_read', () => read(s, { run: r.run, boxes })); await del(s, r.run); },
  async snapshots(s, hold) { const N = 1 << 20; const r = { run: fresh(), tensors: [{ name: 'u', dtype: 'F32', shape: [N] }], averages: [{ name: 'p', start: 'FIRST', power_function: { gamma: 6.94 } }], snapshots: { every_steps: 1, count_max: 256, bytes_max: 2 ** 31 } }; const { up, bytes } = await opened(s, r); for (let i = 1; i <= 256; i++) await up.push(i, bytes); await up.end(); await hold.as('combine', () => read(s, { run: r.run, gamma: 3.3, chunk_bytes: 4190208 })); if (s.error) console.log(s.error.details); await del(s, r.run); },
  async list(s, hold) { const n = 999; const avs = Array.from({ length: 16 }, (_, i) => mean({ preset: 'x'.repeat(300) }, `a${i}`)); for (let i = 0; i < n; i++) await s.ask('OpenRun', { run: `list${i}`, tensors: [{ name: 'w', dtype: 'F32', shape: [4] }], averages: avs }); await hold(() => s.ask('ListRuns', {})); for (let i = 0; i < n; i++) await del(s, `list${i}`); },
};
const results = new Map();
if (values.prof) { rmSync(values.prof, { recursive: true, force: true }); mkdirSync(values.prof, { recursive: true }); }
for (const key of Object.keys(S)) {
  if (only.length && !only.includes(key)) continue;
  const marks = [];
  const s = await new Server().start();
  for (let t = 0; t < TRIES; t++) {
    const as = async (n, action) => { s.error = undefined; const h = await s.hold(action); if (s.error) console.log(n, String(s.error.details ?? s.error).slice(0, 200)); if (!results.has(n)) results.set(n, []); results.get(n).push(h); marks.push({ n, ...h }); };
    const hold = (action) => as(key, action); hold.as = as;
    try { await S[key](s, hold); } catch (e) { console.log(key, 'FAILED', e.details ?? e); break; }
  }
  await s.stop();
  for (const [n, hs] of results) { if (hs.printed) continue; hs.printed = true; const c = hs.map((h) => h.cpuMs).sort((a, b) => a - b); console.log(n.padEnd(20), 'median', c[Math.floor(c.length / 2)].toFixed(0).padStart(5), 'max', c.at(-1).toFixed(0).padStart(5), ' took', (hs.reduce((x, h) => x + h.took, 0) / hs.length).toFixed(0)); }
  if (values.prof) profile(marks);
}
function profile(marks) {
  for (const f of readdirSync(values.prof)) {
    const p = JSON.parse(readFileSync(`${values.prof}/${f}`, 'utf8'));
    const byId = new Map(p.nodes.map((n) => [n.id, n])); for (const n of p.nodes) for (const c of n.children ?? []) byId.get(c).parent = n;
    const times = []; let t = p.startTime; for (const d of p.timeDeltas) { t += d; times.push(t); }
    // performance.now() of the server since its timeOrigin; the profile in microseconds of the monotonic clock.
    for (const m of marks) {
      const origin = monoOrigin(m);
      const [a, b] = [origin + m.beganMs * 1000, origin + m.endedMs * 1000];
      const self = new Map(), incl = new Map(); let total = 0;
      for (let i = 1; i < times.length; i++) { if (times[i] < a || times[i] > b) continue; const w = p.timeDeltas[i] / 1000; total += w; let n = byId.get(p.samples[i]); const k = (n) => `${n.callFrame.functionName || '(anon)'} ${n.callFrame.url.replace(/.*\/(dist|node_modules)\//, '')}:${n.callFrame.lineNumber + 1}`; self.set(k(n), (self.get(k(n)) ?? 0) + w); const seen = new Set(); for (; n; n = n.parent) if (!seen.has(k(n))) { seen.add(k(n)); incl.set(k(n), (incl.get(k(n)) ?? 0) + w); } }
      const top = (m) => [...m].sort((x, y) => y[1] - x[1]).slice(0, 14).map(([k, v]) => `    ${v.toFixed(1).padStart(7)} ${k}`).join('\n');
      console.log(`-- ${m.n} cpu ${m.cpuMs.toFixed(0)} wall ${(m.endedMs - m.beganMs).toFixed(0)} sampled ${total.toFixed(0)}\n  self\n${top(self)}\n  inclusive\n${top(incl)}`);
    }
    rmSync(`${values.prof}/${f}`);
  }
}
function monoOrigin(m) { const now = Number(process.hrtime.bigint() / 1000n); return now - (Date.now() + 0 - m.originMs) * 1000; }
process.exit(0);
