/** Words of other tools, and of a newcomer's first guess, for what this one calls differently. */
const WORDS_OF_COMMAND: Readonly<Record<string, readonly string[]>> = {
  serve: ['server', 'start', 'run', 'up'],
  runs: ['list-runs', 'ps', 'all'],
  describe: ['status', 'info', 'show', 'inspect', 'get', 'stat', 'stats', 'tensors'],
  watch: ['tail', 'follow', 'logs', 'log', 'wait'],
  pull: ['download', 'export', 'save', 'fetch', 'read', 'ema', 'shadow', 'checkpoint'],
  push: ['upload', 'import', 'update', 'load', 'fold', 'write'],
  presets: ['averages', 'schedules'],
  'average add': ['add'],
  delete: ['remove', 'rm', 'del', 'drop'],
  health: ['ping', 'check', 'alive', 'ready', 'probe'],
};

/** The commands that somebody who typed this word may mean; `status` is that of a run, of all, or of the service. */
export function commandsFor(word: string): string[] {
  const meant = Object.keys(WORDS_OF_COMMAND).filter((command) => WORDS_OF_COMMAND[command]!.includes(word));
  return word === 'status' ? [...meant, 'runs', 'health'] : meant;
}

/** Commander's complaint of a command that it does not know, with the one that was meant where its spelling is another. */
export function withSuggestion(message: string): string {
  const line = message.trimEnd().replace(/\n(\(Did you mean [^\n]+\))$/, ' $1');
  const [, word = ''] = /unknown command '([a-z-]+)'/.exec(line) ?? [];
  const meant = commandsFor(word).map((command) => `"${command}"`);
  return meant.length === 0 ? line : `error: unknown command '${word}': try ${meant.join(', ')}`;
}
