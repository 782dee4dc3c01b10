import { readSource } from './source-files.js';

/**
 * How a block of the README is tested, by a comment in the line before its fence:
 *
 *   <!-- run -->            it is executed, in the README's order, against a server of the test's own
 *   <!-- check -->          (sh) each command and flag in it is proved to exist
 *   <!-- shown: WHY -->     it is only shown
 */
export type Treatment = 'run' | 'check' | 'shown';

export interface Block {
  /** Of the opening fence, from 1. */
  readonly line: number;
  readonly language: string;
  readonly treatment: Treatment | undefined;
  readonly text: string;
}

const MARKER = /^<!-- (run|check|shown: .+) -->$/;

/** Every fenced block of a Markdown file. */
export function fencedBlocks(path: string): Block[] {
  const lines = readSource(path).split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const language = lines[at]?.match(/^```(\w*)/)?.[1];
    if (language === undefined) continue;
    const end = lines.indexOf('```', at + 1);
    if (end < 0) throw new Error(`${path}:${at + 1}: the fence is never closed`);
    const marker = lines[at - 1]?.match(MARKER)?.[1]?.split(':')[0] as Treatment | undefined;
    blocks.push({ line: at + 1, language, treatment: marker, text: `${lines.slice(at + 1, end).join('\n')}\n` });
    at = end;
  }
  return blocks;
}

/** The commands of a shell block: comments dropped, continued lines joined, `&&` and pipes taken apart. */
export function commandsOf(text: string): string[][] {
  return text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, ''))
    .flatMap((line) => line.split(/&&|\|\||[|;]/))
    .map((command) => command.trim().split(/\s+/))
    .filter(([word]) => word !== '');
}
