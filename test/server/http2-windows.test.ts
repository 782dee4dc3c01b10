import { type ClientHttp2Session, connect, type Settings } from 'node:http2';
import { expect, test } from 'vitest';
import { eventually, serve } from './harness.js';

// The server sets windows through private fields of grpc-js. This test reads what a client is really told.

const MIB = 1 << 20;

/** Opens a bare HTTP/2 connection, and returns it with the settings that the server advertises on it. */
async function connectTo(port: number): Promise<{ session: ClientHttp2Session; settings: Settings }> {
  const session = connect(`http://127.0.0.1:${port}`);
  const settings = await new Promise<Settings>((resolve) => session.once('remoteSettings', resolve));
  return { session, settings };
}

test('a connection is told of windows of 8 MiB, frames of 1 MiB and 128 streams', async () => {
  const { session, settings } = await connectTo((await serve()).port);
  expect(settings).toMatchObject({ maxFrameSize: MIB, maxConcurrentStreams: 128 });
  // The window of streams comes in later settings, because it changes with the number of streams.
  await eventually(() => (session.remoteSettings.initialWindowSize === 8 * MIB ? true : undefined));
  // The window of the connection has no setting: a WINDOW_UPDATE raises it from the protocol's 65,535 bytes.
  await eventually(() => (session.state.remoteWindowSize === 8 * MIB ? true : undefined));
  session.destroy();
});

test('windows follow the option', async () => {
  const { session, settings } = await connectTo((await serve({ windowBytes: 3 * MIB })).port);
  expect(settings).toMatchObject({ maxFrameSize: MIB });
  await eventually(() => (session.remoteSettings.initialWindowSize === 3 * MIB ? true : undefined));
  await eventually(() => (session.state.remoteWindowSize === 3 * MIB ? true : undefined));
  session.destroy();
});

test('without the option the stock windows stay', async () => {
  const { session, settings } = await connectTo((await serve({ windowBytes: 0 })).port);
  expect(settings).toMatchObject({ initialWindowSize: 65_535, maxFrameSize: 16_384 });
  expect(session.state.remoteWindowSize).toBe(65_535);
  session.destroy();
});
