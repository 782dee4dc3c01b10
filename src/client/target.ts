/** This machine's own addresses, which no proxy on another one can reach. */
const LOOPBACK = /^(unix:.*|localhost:\d+|127(\.\d{1,3}){3}:\d+|\[::1\]:\d+)$/;

export function isLoopback(target: string): boolean {
  return LOOPBACK.test(target);
}

/** What grpc-js says when there was no connection that could have carried the request. */
const UNREACHED =
  /^No connection established(?:\. Last error: (?:Error: )?(?<last>.+?)\.? Resolution note)?|^Name resolution/;
/** What `inWords` says of it. */
const UNREACHED_WORDS = 'cannot reach the service at ';

/** The variables that gRPC takes a proxy from, the first that is set. */
const PROXY_VARIABLES = ['grpc_proxy', 'https_proxy', 'http_proxy'];

/** Where a channel leads: `channelTarget` is what gRPC has made of the target, which is the proxy if it takes one. */
export interface Way {
  readonly target: string;
  readonly channelTarget: string;
}

/** What grpc-js says of a service that is not there, with the place where it was looked for. */
export function inWords(details: string, way: Way): string {
  const unreached = UNREACHED.exec(details);
  if (unreached === null) return `lost the service at ${way.target}: ${details}`;
  const last = unreached.groups?.['last'] ?? details;
  // gRPC says "undefined" of a connection that a proxy has refused.
  return `${UNREACHED_WORDS}${way.target}: ${last === 'undefined' ? 'no connection' : last}${proxyNote(way)}`;
}

/** Whether what `inWords` has made of a failure is one of a request that never left this process. */
export function isUnreached(message: string): boolean {
  return message.startsWith(UNREACHED_WORDS);
}

/** A service in the same network is not found through a proxy, and nobody remembers the variable. */
function proxyNote({ target, channelTarget }: Way): string {
  if (channelTarget.endsWith(target)) return '';
  const variable = PROXY_VARIABLES.find((name) => process.env[name]);
  const host = target.replace(/:\d+$/, '');
  const proxy = channelTarget.replace(/^dns:/, '');
  return `; ${variable} is set, and gRPC goes through that proxy, ${proxy}, unless no_proxy names the host: no_proxy=${host}`;
}
