import { Command } from 'commander';
import { runDemo, SEED_DEFAULT, SEED_MAX, STEPS_DEFAULT, STEPS_MAX, STEPS_MIN } from '../../demo/index.js';
import { EXIT } from '../exit.js';
import { flag } from '../flags/flags.js';
import { integer } from '../flags/values.js';
import { interruptible } from '../interrupt.js';

interface DemoFlags {
  steps: number;
  seed: number;
  json?: boolean;
}

const EXPLANATION = `
Trains a small classifier of handwritten digits in one process, streams every
step to a service on a free port of this machine, and follows its EMA from
another process. Needs no network, leaves no files, takes about ten seconds, and
exits with 0 only when every number is right.`;

/** The command `shadowkeep demo`, which shows the whole service at work on real data. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('train on handwritten digits, stream each step, evaluate the EMA meanwhile')
    .addOption(
      flag('--steps <N>', `optimizer steps, ${STEPS_MIN} to ${STEPS_MAX}`)
        .argParser(integer('--steps', STEPS_MIN, STEPS_MAX))
        .default(STEPS_DEFAULT),
    )
    .addOption(
      flag('--seed <N>', 'names everything that is random')
        .argParser(integer('--seed', 0, SEED_MAX))
        .default(SEED_DEFAULT),
    )
    .addOption(flag('--json', 'print one object: what came out'))
    .addHelpText('after', EXPLANATION)
    .action(demo);
}

async function demo({ steps, seed, json }: DemoFlags): Promise<void> {
  const ok = await interruptible((signal) => runDemo({ steps, seed, json: json === true }, signal));
  if (!ok) process.exitCode = EXIT.failure;
}
