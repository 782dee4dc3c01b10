// Evaluators that read the newest version again and again, all in this process, and throw the bytes away.
import { shadowWeightsDefinition } from '../../dist/protocol/index.js';
import { GrpcConnection, MessageSplitter, prefixed } from '../harness/grpc-connection.mjs';
import { now, serve } from './commands.mjs';

const { requestSerialize, responseDeserialize } = shadowWeightsDefinition.GetShadow;

/** Matches the error of a read whose version was evicted, because a new step needed its memory. */
const EVICTED = /^status 10: /;

/** One evaluator with a connection of its own. */
class Follower {
  #connection;
  #request;
  #isStopped = false;
  #following;
  /** A promise that resolves when the first header has come. */
  started;
  #onHeader = () => undefined;
  /** The step of the last read that was completed. */
  #step;
  bytes = 0;
  evicted = 0;
  /** For each completed read: how many steps were committed during it. */
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

  /** Stops after the read that is under way. */
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

  /** Hears of a header. Its step is the newest, so the read before it lags behind by the difference. */
  #began(step) {
    this.#onHeader();
    if (this.#step !== undefined) this.lags.push(step - this.#step);
  }
}

let followers = [];
let since = 0;

/** Makes all evaluators follow a run. Answers when all have begun. */
async function start({ target, run, count }) {
  const connections = Array.from({ length: count }, () => new GrpcConnection(target).connected());
  followers = (await Promise.all(connections)).map((connection) => new Follower(connection, run));
  await Promise.all(followers.map(({ started }) => started));
}

/** Resets all counts. */
function reset() {
  since = now();
  for (const follower of followers) follower.reset();
}

/** Reports what all evaluators have read since `reset`, and the mean lag of each that has completed a read. */
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
