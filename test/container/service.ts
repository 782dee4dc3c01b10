import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer, Wait } from 'testcontainers';

export const IMAGE = 'localhost/shadowkeep:test';
export const PORT = 50_051;
export const LIMIT_BYTES = 512 * 2 ** 20;

/** The image as docker-compose.yml runs it: nothing is writable but the volume. */
export class Service extends GenericContainer {
  constructor(volume: string) {
    super(IMAGE);
    this.hostConfig.ReadonlyRootfs = true;
    this.withDroppedCapabilities('ALL')
      .withSecurityOpt('no-new-privileges')
      .withResourcesQuota({ memory: LIMIT_BYTES / 2 ** 30 })
      .withBindMounts([{ source: volume, target: '/data', mode: 'rw' }])
      .withExposedPorts(PORT)
      .withWaitStrategy(Wait.forHealthCheck());
  }
}

export async function stateOf(
  service: StartedTestContainer,
): Promise<{ ExitCode: number; OOMKilled: boolean; Running: boolean }> {
  const { container } = await getContainerRuntimeClient();
  return (await container.inspect(container.getById(service.getId()))).State;
}

/** Removes stopped and running containers alike, then the volume. */
export async function removeAll(services: readonly StartedTestContainer[], volume: string): Promise<void> {
  const { container } = await getContainerRuntimeClient();
  for (const service of services) await container.dockerode.getContainer(service.getId()).remove({ force: true });
  await container.dockerode.getVolume(volume).remove({ force: true });
}

/** A client that froze: its connection is open and it will never close it. */
export async function openSilentPeer(service: StartedTestContainer): Promise<Socket> {
  const peer = connectSocket({ host: service.getHost(), port: service.getMappedPort(PORT), allowHalfOpen: true });
  const emptySettings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  peer.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), emptySettings]));
  await once(peer, 'data');
  peer.resume();
  return peer;
}
