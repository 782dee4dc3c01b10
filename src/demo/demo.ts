import { connect, type RunInfo } from '../client/index.js';
import { type RunningServer, startServer } from '../server/index.js';
import { loadDigits, splitDigits } from './digits.js';
import type { EvaluatorMessage } from './evaluator.js';
import { type Child, startChild } from './processes.js';
import { Recording } from './recording.js';
import { conclusion, introduction, paintFor, tableHeader, tableRow } from './report.js';
import { createModel, RUN_NAME, type Setup } from './setup.js';
import { summarize } from './summary.js';
import type { TrainerMessage } from './trainer.js';

export interface DemoOptions {
  /** Optimizer steps, STEPS_MIN to STEPS_MAX. */
  readonly steps: number;
  /** 0 to SEED_MAX. */
  readonly seed: number;
  /** Print the summary as one JSON object and nothing else. */
  readonly json: boolean;
}

/**
 * Runs the demo: the service in this process, and a trainer and an evaluator in processes of their own, which are gone
 * when the demo ends. Resolves to whether all checks hold. Rejects when a process fails or hangs, or with the reason of
 * `signal`.
 */
export async function runDemo(options: DemoOptions, signal: AbortSignal): Promise<boolean> {
  const server = await startServer({ listen: '127.0.0.1:0', dataDir: 'none', logLevel: 'error' });
  const children: Child[] = [];
  try {
    signal.throwIfAborted();
    return await Promise.race([aborted(signal), play(options, server, children)]);
  } finally {
    await Promise.all(children.map((child) => child.stop()));
    await server.stop();
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

async function play(options: DemoOptions, server: RunningServer, children: Child[]): Promise<boolean> {
  const print = (lines: readonly string[]): void => void process.stdout.write(`${lines.join('\n')}\n`);
  const printText = options.json ? () => {} : print;
  const paint = paintFor(process.stdout);
  const { steps, seed } = options;
  const setup: Setup = { target: `${server.host}:${server.port}`, steps, seed };
  const recording = new Recording((row) => printText([tableRow(row, paint)]));

  const [trainer, evaluator] = startPair(setup, recording);
  children.push(trainer, evaluator);
  const { test } = splitDigits(loadDigits(), seed);
  const cast = { ...setup, trainerPid: trainer.pid, evaluatorPid: evaluator.pid, model: createModel(seed), test };
  printText([...introduction(cast, paint), tableHeader(paint)]);
  await Promise.all([trainer.ended, evaluator.ended]);

  const summary = summarize(setup, recording, await describeRun(setup.target));
  if (options.json) print([JSON.stringify(summary)]);
  else print(conclusion(summary, paint));
  return summary.ok;
}

/**
 * Starts the trainer and the evaluator. The evaluator waits until the trainer has opened the run, and the trainer waits
 * until the evaluator has pulled once; after that neither waits for the other.
 */
function startPair(setup: Setup, recording: Recording): [trainer: Child, evaluator: Child] {
  const trainer = startChild<TrainerMessage>('trainer', setup, (message) => {
    if (message.kind === 'trained') recording.addTrained(message);
    else if (message.kind === 'acknowledged') recording.acknowledged = message;
    else {
      recording.opened = message;
      evaluator.go();
    }
  });
  const evaluator = startChild<EvaluatorMessage>('evaluator', setup, (message) => {
    if (message.kind === 'pulled') recording.addPulled(message);
    else trainer.go();
  });
  return [trainer, evaluator];
}

async function describeRun(target: string): Promise<RunInfo> {
  const client = connect(target);
  try {
    return await client.getRun(RUN_NAME);
  } finally {
    client.close();
  }
}
