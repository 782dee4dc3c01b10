/** The schemes that gRPC puts before addresses, as in `dns:///trainer:50051`. */
const SCHEME = /^(?:dns:(?:\/\/[^/]*\/)?|ipv[46]:)/;
/** A socket of this machine, which has no port. */
const SOCKET = /^unix(?:-abstract)?:./;
const HOST_AND_PORT = /^(\[[\da-fA-F:.]+\]|[^\s:/[\]]+):(\d{1,5})$/;
const PORT_MAX = 65_535;

/** The rule for a target, for messages. */
export const TARGET_RULE = `must be HOST:PORT with a port from 1 to ${PORT_MAX}`;

/**
 * Whether a client can tell where a service listens. A port that is missing would be gRPC's default, 443, where it is
 * not.
 */
export function isTarget(text: string): boolean {
  const scheme = SCHEME.exec(text)?.[0] ?? '';
  const rest = text.slice(scheme.length);
  // Only numeric schemes take lists.
  return SOCKET.test(text) || (scheme.startsWith('ip') ? rest.split(',') : [rest]).every(hasPort);
}

function hasPort(address: string): boolean {
  const port = Number(HOST_AND_PORT.exec(address)?.[2]);
  return port >= 1 && port <= PORT_MAX;
}
