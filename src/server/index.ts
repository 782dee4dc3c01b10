export { defaultMemoryBytes, MAX_CONNECTIONS_MAX, MEMORY_BYTES_MIN, TRANSPORT_BYTES_MIN } from './options.js';
export { type RunningServer, startServer } from './start-server.js';
