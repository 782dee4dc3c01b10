export {
  compileServerOptions,
  defaultMemoryBytes,
  MEMORY_BYTES_MIN,
  parseListen,
  type ServerOptions,
} from './options.js';
export type { LoadedRun } from './run-files.js';
export { type RunningServer, startServer } from './start-server.js';
