/** Matches addresses of this machine, which a proxy on another machine cannot reach. */
const LOOPBACK = /^(unix:.*|localhost:\d+|127(\.\d{1,3}){3}:\d+|\[::1\]:\d+)$/;

export function isLoopback(target: string): boolean {
  return LOOPBACK.test(target);
}

/** Matches grpc-js' texts for a request that had no connection to go out on. */
const UNREACHED =
  /^No connection established(?:\. Last error: (?:Error: )?(?<last>.+?)\.? Resolution note)?|^Name resolution/;
/** The beginning of `inWords`' text for such a request. */
const UNREACHED_WORDS = 'cannot reach the service at ';

/** The environment variables that gRPC takes a proxy from. The first one that is set counts. */
const PROXY_VARIABLES = ['grpc_proxy', 'https_proxy', 'http_proxy'];

/** Where a channel leads. `channelTarget` is what gRPC has made of the target: the proxy, if it uses one. */
export interface Way {
  readonly target: string;
  readonly channelTarget: string;
}

/** The text for a service that is not there, from grpc-js' own text and the place where the service was looked for. */
export function inWords(details: string, way: Way): string {
  const unreached = UNREACHED.exec(details);
  if (unreached === null) return `lost the service at ${way.target}: ${details}`;
  const last = unreached.groups?.['last'] ?? details;
  // gRPC's text for a connection that a proxy has refused is "undefined".
  return `${UNREACHED_WORDS}${way.target}: ${last === 'undefined' ? 'no connection' : last}${proxyNote(way)}`;
}

/** Whether a text of `inWords` is about a request that never left this process. */
export function isUnreached(message: string): boolean {
  return message.startsWith(UNREACHED_WORDS);
}

/** Names the variable that made gRPC use a proxy. A service in the own network is not found through one. */
function proxyNote({ target, channelTarget }: Way): string {
  if (channelTarget.endsWith(target)) return '';
  const variable = PROXY_VARIABLES.find((name) => process.env[name]);
  const host = target.replace(/:\d+$/, '');
  const proxy = channelTarget.replace(/^dns:/, '');
  return `; ${variable} is set, and gRPC goes through that proxy, ${proxy}, unless no_proxy names the host: no_proxy=${host}`;
}
