/** For each command, words of other tools or of a newcomer's first guess that mean it. */
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

/** The commands that a word may mean. `status` may mean that of one run, of all runs, or of the service. */
export function commandsFor(word: string): string[] {
  const meant = Object.keys(WORDS_OF_COMMAND).filter((command) => WORDS_OF_COMMAND[command]!.includes(word));
  return word === 'status' ? [...meant, 'runs', 'health'] : meant;
}

/** Commander's error for an unknown command, with the command that was probably meant. */
export function withSuggestion(message: string): string {
  const line = message.trimEnd().replace(/\n(\(Did you mean [^\n]+\))$/, ' $1');
  const [, word = ''] = /unknown command '([a-z-]+)'/.exec(line) ?? [];
  const meant = commandsFor(word).map((command) => `"${command}"`);
  return meant.length === 0 ? line : `error: unknown command '${word}': try ${meant.join(', ')}`;
}
