import { execFile } from 'node:child_process';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { buildProgram } from '../../src/cli/program.js';
import { runCommand, succeed } from './run-command.js';
import { runInProcess } from './run-in-process.js';

/** All commands, also those below others, with the words that call them. */
function commandsOf(parent: Command, words: readonly string[] = []): { words: string[]; command: Command }[] {
  return parent.commands.flatMap((command) => {
    const own = [...words, command.name()];
    return [{ words: own, command }, ...commandsOf(command, own)];
  });
}

const COMMANDS = commandsOf(buildProgram());
const NAMES = COMMANDS.map(({ words }) => words.join(' '));

/** Removes the only part of the help that depends on the machine. */
function withoutMachine(help: string): string {
  return help.replace(/80 % of what there is: [\d.]+ \w+/, '80 % of what there is: 1.0 GiB');
}

describe('help', () => {
  test('of the program', async () => {
    expect((await runInProcess(['--help'])).stdout).toMatchSnapshot();
  });

  test.each(NAMES.filter((name) => name !== 'demo'))('of %s', async (name) => {
    const { status, stdout, stderr } = await runInProcess([...name.split(' '), '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(withoutMachine(stdout)).toMatchSnapshot();
  });

  test('every flag has a variable that its help names, and its own', () => {
    for (const { command } of COMMANDS) {
      const variables = command.options.map(({ long, envVar }) => [long, envVar]);
      expect(variables).toEqual(
        command.options.map(({ long }) => [long, `SHADOWKEEP_${long!.slice(2).toUpperCase().replaceAll('-', '_')}`]),
      );
    }
  });

  test('the version is that of the package', async () => {
    expect(await succeed(['--version'])).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('wrong usage exits with 2 and says what was expected', () => {
  test.each<[string[], RegExp]>([
    [[], /^Usage: shadowkeep/],
    [['fly'], /unknown command 'fly'/],
    [['runs', '--fast'], /unknown option '--fast'/],
    [['runs', 'extra'], /too many arguments/],
    [['describe'], /missing required argument 'RUN'/],
    [['push', 'r'], /missing required argument 'FILE'/],
    [['pull', 'r'], /required option '--out <PATH>' not specified/],
    [['pull', 'r', '--out', ''], /--out must name a file or a directory, got ""/],
    [['pull', 'r', '--out', 'x', '--step', '1', '--min-step', '1'], /cannot be used with/],
    [['pull', 'r', '--out', 'x', '--step', '-1'], /--step must be an integer from 0 to \d+, got "-1"/],
    [['pull', 'r', '--out', 'x', '--dtype', 'F8'], /--dtype must be one of F16, BF16, F32, F64, got "F8"/],
    [['pull', 'r', '--out', 'x', '--wait', '2h'], /--wait must be a duration up to 1h .*, got "2h"/],
    [['pull', 'r', '--out', 'x', '--shard-bytes', '0'], /--shard-bytes must be a size between 1 and .*, got "0"/],
    [['watch', 'r', '--every', '0'], /--every must be an integer from 1 to \d+, got "0"/],
    [['push', 'r', 'f', '--ema', 'ema'], /--ema must be NAME=DECAY with a decay from 0 to 1/],
    [['push', 'r', 'f', '--ema', 'ema=1.5'], /--ema must be NAME=DECAY .*, got "ema=1.5"/],
    [['push', 'r', 'f', '--start', 'late'], /--start must be one of ZEROS, INITIAL, FIRST, got "late"/],
    [
      ['push', 'r', 'f', '--average', 'torch-ema:decay=2'],
      /^shadowkeep: torch-ema: decay must be a number from 0 to 1, got 2$/m,
    ],
    [['push', 'r', 'f', '--average', 'sgd'], /no preset "sgd": shadowkeep presets lists them all/],
    [['presets', 'torch-ema:beta=1'], /torch-ema has no option "beta", only decay, device/],
    [['presets', 'torch-ema', 'extra'], /too many arguments/],
    [['average'], /^Usage: shadowkeep average/],
    [['average', 'add', 'r'], /missing required argument 'TEXT'/],
    [['average', 'add', 'r', 'x=y'], /no preset "y": shadowkeep presets lists them all/],
    [['average', 'remove', 'r'], /missing required argument 'NAME'/],
    [['delete', 'r'], /delete needs --yes where nobody can be asked/],
    [['serve', '--memory', '1KiB'], /--memory must be a size between 64MiB and .*, got "1KiB"/],
    [['serve', '--kernels', 'gpu'], /--kernels must be one of simd, scalar, got "gpu"/],
    [['serve', '--log-level', 'loud'], /--log-level must be one of trace, .*, got "loud"/],
    [['serve', '--listen', 'nowhere'], /--listen must be HOST:PORT with a port from 0 to 65535, got nowhere/],
    [['serve', '--listen', '127.0.0.1:70000'], /--listen must be HOST:PORT with a port from 0 to 65535/],
    [['serve', '--step-timeout', '0s'], /--step-timeout must be an integer from 1 to \d+, got 0 \(milliseconds\)/],
    [['serve', '--data-dir', ''], /--data-dir must be a directory or none, got ""/],
  ])('%j', async (args, message) => {
    const { status, stdout, stderr } = await runInProcess(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^(shadowkeep: |Usage: )/);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test('as a process too', async () => {
    const { status, stdout, stderr } = await runCommand(['describe']);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toBe("shadowkeep: missing required argument 'RUN'\n(--help tells more)\n");
  });

  test('in a variable too', async () => {
    const tooSmall = await runCommand(['serve'], { SHADOWKEEP_MEMORY: '12' });
    expect(tooSmall).toMatchObject({ status: 2, stderr: expect.stringContaining('--memory must be a size between') });
    const maybe = await runCommand(['runs'], { SHADOWKEEP_JSON: 'maybe' });
    expect(maybe).toMatchObject({ status: 2, stderr: expect.stringContaining('SHADOWKEEP_JSON (for --json) must be') });
  });
});

describe('standard output', () => {
  const intoShell = (rest: string) =>
    new Promise<{ status: number; stderr: string }>((resolve) => {
      const child = execFile('sh', ['-c', rest], (_error, _stdout, stderr) => {
        resolve({ status: child.exitCode ?? -1, stderr });
      });
    });

  test('that is full is a failure in one line', async () => {
    const { status, stderr } = await intoShell(`"${process.execPath}" dist/main.js --help >/dev/full`);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: 'shadowkeep: cannot write to standard output: ENOSPC: no space left on device, write\n',
    });
  });

  test('whose reader has gone ends the command as a signal would', async () => {
    const { stderr } = await intoShell(`("${process.execPath}" dist/main.js --help; echo $? >&2) | true`);
    expect(stderr).toBe('141\n');
  });
});
