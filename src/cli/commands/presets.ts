import { Command } from 'commander';
import { type AverageSpec, commonPresetOptions, listPresets, type PresetInfo } from '../../client/index.js';
import { averageJson } from '../average-json.js';
import { describeAverage } from '../describe-average.js';
import { flag } from '../flags.js';
import { print, printJson } from '../output.js';
import { averagesFromText } from '../push-averages.js';
import { type Column, formatFields, formatTable } from '../table.js';

const EXPLANATION = `
A text is [NAME=]PRESET[:option=value,option=value...], as
ema=timm-v3:decay=0.9998,use_warmup=true. Values are numbers, true, false, none,
words, and lists joined by "+". With a TEXT the averages that it becomes are
printed; push --average and average add take the same text.`;

const COLUMNS: readonly Column<AverageSpec>[] = [
  { title: 'AVERAGE', cell: (average) => average.name ?? '' },
  { title: 'RULE', cell: describeAverage },
];

export function presetsCommand(): Command {
  return new Command('presets')
    .description('list what averages can be made from, or show what a text becomes')
    .argument('[TEXT]', 'an average as text')
    .addOption(flag('--json', 'print one array: presets, or averages as in the proto'))
    .addHelpText('after', EXPLANATION)
    .action((text: string | undefined, { json }: { json?: boolean }) => {
      if (text === undefined) listAll(json ?? false);
      else showExpansion(averagesFromText(text), json ?? false);
    });
}

function showExpansion(averages: readonly AverageSpec[], json: boolean): void {
  if (json) printJson(averages.map(averageJson));
  else print(formatTable(COLUMNS, averages));
}

function listAll(json: boolean): void {
  const presets = listPresets();
  if (json) {
    printJson(presets);
    return;
  }
  const shared = { name: 'every preset', peer: undefined, rule: 'takes these too', options: commonPresetOptions() };
  print([...presets, shared].map(describePreset).join('\n\n'));
}

/** A preset's name, whose it is, what it becomes, and a line for each option. */
function describePreset({ name, peer, rule, options }: PresetInfo): string {
  const lines = options.map(({ name, default: fallback, bound, note }): [string, string] =>
    fallback === undefined ? [`  ${name}`, `${bound}, required`] : [`  ${name}=${fallback}`, note ?? bound],
  );
  const head = peer === undefined ? name : `${name}: ${peer}`;
  return [head, `  ${rule}`, ...(lines.length === 0 ? [] : [formatFields(lines)])].join('\n');
}
