// Evaluators that read the newest version again and again, all in this process, and throw the bytes away.
import { shadowWeightsDefinition } from '../../dist/protocol/index.js';
import { GrpcConnection, MessageSplitter, prefixed } from '../harness/grpc-connection.mjs';
import { now, serve } from './commands.mjs';

const { requestSerialize, responseDeserialize } = shadowWeightsDefinition.GetShadow;

/** The memory of the version that was being read was needed for a new step. */
const EVICTED = /^status 10: /;

/** One evaluator with a connection of its own. */
class Follower {
  #connection;
  #request;
  #isStopped = false;
  #following;
  /** Resolves when the first header has come. */
  started;
  #onHeader = () => undefined;
  /** Of the last read that came to its end. */
  #step;
  bytes = 0;
  evicted = 0;
  /** Steps that were committed during each read. */
  lags = [];

  constructor(connection, run) {
    this.#connection = connection;
    this.#request = prefixed(requestSerialize({ run }));
    this.started = new Promise((resolve) => {
      this.#onHeader = resolve;
    });
    this.#following = this.#follow();
  }

  reset() {
    this.bytes = 0;
    this.evicted = 0;
    this.lags = [];
  }

  /** Ends after the read that is under way. */
  async stop() {
    this.#isStopped = true;
    await this.#following;
    this.#connection.close();
  }

  async #follow() {
    while (!this.#isStopped) {
      try {
        this.#step = await this.#read();
      } catch (error) {
        if (!EVICTED.test(error.message)) throw error;
        this.#step = undefined;
        this.evicted += 1;
      }
    }
  }

  /** @returns the step that was read. */
  async #read() {
    const { stream, ended } = this.#connection.call('GetShadow');
    const splitter = new MessageSplitter();
    let step;
    stream.on('data', (piece) => {
      this.bytes += piece.length;
      if (step !== undefined) return;
      const [first] = splitter.push(piece);
      if (first === undefined) return;
      step = responseDeserialize(first).header.step;
      this.#began(step);
    });
    stream.end(this.#request);
    await ended;
    return step;
  }

  /** The newest version is known now: how far behind it the one was that has just been read. */
  #began(step) {
    this.#onHeader();
    if (this.#step !== undefined) this.lags.push(step - this.#step);
  }
}

let followers = [];
let since = 0;

/** Begins to follow a run; answers when all have begun. */
async function start({ target, run, count }) {
  const connections = Array.from({ length: count }, () => new GrpcConnection(target).connected());
  followers = (await Promise.all(connections)).map((connection) => new Follower(connection, run));
  await Promise.all(followers.map(({ started }) => started));
}

/** Begins to count. */
function reset() {
  since = now();
  for (const follower of followers) follower.reset();
}

/** What all have read since then, and the mean lag of each that has read a whole version. */
function report() {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  return {
    seconds: now() - since,
    bytes: sum(followers.map(({ bytes }) => bytes)),
    reads: sum(followers.map(({ lags }) => lags.length)),
    evicted: sum(followers.map(({ evicted }) => evicted)),
    lags: followers.filter(({ lags }) => lags.length > 0).map(({ lags }) => sum(lags) / lags.length),
  };
}

async function stop() {
  await Promise.all(followers.map((follower) => follower.stop()));
}

await serve({ start, reset, report, stop });
