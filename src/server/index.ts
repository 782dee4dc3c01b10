export {
  compileServerOptions,
  defaultMemoryBytes,
  defaultTransportBytes,
  MAX_CONNECTIONS_MAX,
  MEMORY_BYTES_MIN,
  parseListen,
  type ServerOptions,
  TRANSPORT_BYTES_MIN,
} from './options.js';
export type { LoadedRun } from './run-files.js';
export { type RunningServer, startServer } from './start-server.js';
