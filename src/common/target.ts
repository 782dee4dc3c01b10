/** A name of gRPC's own kind, as `dns:///trainer:50051` or `unix:/run/shadowkeep.sock`. */
const GRPC_NAME = /^(dns|ipv4|ipv6|unix|unix-abstract):./;
const HOST_AND_PORT = /^(\[[\da-fA-F:.]+\]|[^\s:/[\]]+):(\d{1,5})$/;
const PORT_MAX = 65_535;

/** What a target must be, for messages. */
export const TARGET_RULE = `must be HOST:PORT with a port from 1 to ${PORT_MAX}`;

/** Whether a client can tell where a service listens. A port that is missing would be gRPC's default, 443, where it is not. */
export function isTarget(text: string): boolean {
  const port = Number(HOST_AND_PORT.exec(text)?.[2]);
  return GRPC_NAME.test(text) || (port >= 1 && port <= PORT_MAX);
}
