import { Command, InvalidArgumentError } from 'commander';
import { runDemo, SEED_DEFAULT, SEED_MAX, STEPS_DEFAULT, STEPS_MAX, STEPS_MIN } from '../../demo/index.js';

const EXPLANATION = `
Trains a small classifier of handwritten digits in one process, streams every step to a service on a free port of this
machine, and follows its EMA from another process. Needs no network and no files, takes about ten seconds, and exits
with 0 only when every number is right.`;

/** `shadowkeep demo`: the whole service at work on real data. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('train on handwritten digits, stream each step to a service, evaluate its EMA meanwhile')
    .option(
      '--steps <n>',
      `optimizer steps, ${STEPS_MIN} to ${STEPS_MAX}`,
      integer(STEPS_MIN, STEPS_MAX),
      STEPS_DEFAULT,
    )
    .option('--seed <n>', `seed of everything random, 0 to ${SEED_MAX}`, integer(0, SEED_MAX), SEED_DEFAULT)
    .option('--json', 'print the outcome as one JSON object and nothing else', false)
    .addHelpText('after', EXPLANATION)
    .action(async (options: { steps: number; seed: number; json: boolean }) => {
      process.exitCode = await runDemo(options);
    });
}

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`It must be an integer from ${min} to ${max}.`);
    }
    return value;
  };
}
