import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { flag } from '../flags/flags.js';
import { print, printJson } from '../text/output.js';

/** The version in package.json, which lies beside both `src` and `dist`. */
export function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

export function versionCommand(): Command {
  return new Command('version')
    .description('print the version, and that of Node')
    .addOption(flag('--json', 'print one object: {"version":…,"node":…}'))
    .action(({ json }: { json?: boolean }) => {
      const [version, node] = [readVersion(), process.version];
      if (json) printJson({ version, node });
      else print(`shadowkeep ${version}, Node ${node}`);
    });
}
