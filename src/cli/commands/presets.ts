import { Command } from 'commander';
import { type AverageSpec, commonPresetOptions, listPresets, type PresetInfo } from '../../client/index.js';
import { flag } from '../flags/flags.js';
import { averagesFromText } from '../push/push-averages.js';
import { describeAverage } from '../text/describe-average.js';
import { outputWidth, print, printJson } from '../text/output.js';
import { averageJson } from '../text/run-json.js';
import { type Column, formatFields, formatTable } from '../text/table.js';
import { wrapWords } from '../text/wrap-words.js';

const EXPLANATION = `
A text is [NAME=]PRESET[:option=value,option=value...], as
ema=timm-v3:decay=0.9998,use_warmup=true. Values are numbers, true, false, none,
words, and lists joined by "+". With a TEXT the averages that it becomes are
printed; push --average and average add take the same text.`;

const INDENT = '  ';

const COLUMNS: readonly Column<AverageSpec>[] = [
  { title: 'AVERAGE', cell: (average) => average.name ?? '' },
  { title: 'RULE', wraps: true, cell: describeAverage },
];

export function presetsCommand(): Command {
  return new Command('presets')
    .description('list what averages can be made from, or show what a text becomes')
    .argument('[TEXT]', 'an average as text')
    .addOption(flag('--json', 'print one array: presets, or averages'))
    .addHelpText('after', EXPLANATION)
    .action((text: string | undefined, { json }: { json?: boolean }) => {
      if (text === undefined) listAll(json ?? false);
      else showExpansion(averagesFromText(text), json ?? false);
    });
}

function showExpansion(averages: readonly AverageSpec[], json: boolean): void {
  if (json) printJson(averages.map(averageJson));
  else print(...formatTable(COLUMNS, averages, outputWidth()));
}

function listAll(json: boolean): void {
  const presets = listPresets();
  if (json) {
    printJson(presets);
    return;
  }
  const shared = {
    name: 'every preset',
    peer: undefined,
    buffers: undefined,
    rule: 'takes these too',
    options: commonPresetOptions(),
  };
  const [first, ...others] = [...presets, shared].map((preset) => describePreset(preset, outputWidth()));
  print(...first!, ...others.flatMap((lines) => ['', ...lines]));
}

/** The lines that describe a preset: its name and peer, the average that it becomes, and a line for each option. */
function describePreset({ name, peer, buffers, rule, options }: PresetInfo, width: number): string[] {
  const lines = options.map(({ name, default: fallback, bound, note }): [string, string] =>
    fallback === undefined
      ? [`${INDENT}${name}`, `${bound}, required`]
      : [`${INDENT}${name}=${fallback}`, note ?? bound],
  );
  const head = peer === undefined ? name : `${name}: ${peer}`;
  const treatment = buffers === undefined ? '' : `; floating-point buffers: ${buffers}`;
  const about = wrapWords(rule + treatment, width - INDENT.length).map((line) => INDENT + line);
  return [...wrapWords(head, width), ...about, ...(lines.length === 0 ? [] : formatFields(lines, width))];
}
