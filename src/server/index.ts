export { tuneGarbageCollector } from './loop/tune-gc.js';
export { OPTION_ROWS, type OptionRow } from './options/option-table.js';
export { type RunningServer, startServer } from './start-server.js';
