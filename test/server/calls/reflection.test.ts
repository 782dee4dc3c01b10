import { credentials, type Metadata, makeGenericClientConstructor, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import descriptor from 'protobufjs/ext/descriptor/index.js';
import { describe, expect, test } from 'vitest';
import { ask, rawClient, serve } from '../harness.js';

const SERVICES = ['grpc.health.v1.Health', 'shadowkeep.v1.ShadowWeights'];
const VERSIONS = ['v1', 'v1alpha'] as const;

interface Field {
  readonly name: string;
  readonly typeName: string;
  readonly proto3Optional: boolean;
  readonly oneofIndex: number;
}
interface Message {
  readonly name: string;
  readonly field: readonly Field[];
  readonly nestedType: readonly Message[];
  readonly enumType: readonly { readonly name: string }[];
  readonly oneofDecl: readonly { readonly name: string }[];
  readonly options?: { readonly mapEntry: boolean } | null;
}
interface File extends Message {
  readonly package: string;
  readonly dependency: readonly string[];
  readonly messageType: readonly Message[];
}

interface Answer {
  readonly list_services_response?: { readonly service: readonly { readonly name: string }[] };
  readonly file_descriptor_response?: { readonly file_descriptor_proto: readonly Buffer[] };
  readonly error_response?: { readonly error_code: number };
}

/** A reflection client that knows only the reflection protocol. */
class Reflection {
  readonly #port: number;
  readonly #version: string;

  constructor(port: number, version: (typeof VERSIONS)[number] = 'v1') {
    this.#port = port;
    this.#version = version;
  }

  async ask(request: object): Promise<Answer> {
    const proto = `grpc/reflection/${this.#version}/reflection.proto`;
    const includeDirs = ['node_modules/@grpc/reflection/build/proto'];
    const service = `grpc.reflection.${this.#version}.ServerReflection`;
    const definition = loadSync(proto, { keepCase: true, oneofs: true, includeDirs })[service] as ServiceDefinition;
    const Client = makeGenericClientConstructor(definition, service);
    const client = new Client(`127.0.0.1:${this.#port}`, credentials.createInsecure());
    try {
      return await new Promise<Answer>((resolve, reject) => {
        const call = (client['ServerReflectionInfo'] as () => NodeJS.ReadWriteStream).call(client);
        call.on('data', (answer) => resolve(answer as unknown as Answer)).on('error', reject);
        call.write(request as unknown as string);
        call.end();
      });
    } finally {
      client.close();
    }
  }

  /** The files for a symbol: first the file that declares it, then those that it needs. */
  async filesOf(symbol: string): Promise<File[]> {
    const { file_descriptor_response: response } = await this.ask({ file_containing_symbol: symbol });
    const protos = response?.file_descriptor_proto ?? [];
    return protos.map((bytes) => descriptor.FileDescriptorProto.decode(bytes) as unknown as File);
  }
}

const allMessages = (messages: readonly Message[], scope: string): { full: string; message: Message }[] =>
  messages.flatMap((message) => {
    const full = `${scope}.${message.name}`;
    return [{ full, message }, ...allMessages(message.nestedType, full)];
  });

/** The full names of the types that a file declares. */
const declared = (file: File) => [
  ...file.enumType.map(({ name }) => `.${file.package}.${name}`),
  ...allMessages(file.messageType, `.${file.package}`).flatMap(({ full, message }) => [
    full,
    ...message.enumType.map(({ name }) => `${full}.${name}`),
  ]),
];

test.each(VERSIONS)('%s lists every service', async (version) => {
  const { port } = await serve();
  const answer = await new Reflection(port, version).ask({ list_services: '' });
  expect(answer.list_services_response?.service.map(({ name }) => name).sort()).toEqual(SERVICES);
});

describe.each([...SERVICES, 'google.rpc.Status', 'google.rpc.ErrorInfo', 'shadowkeep.v1.Run'])(
  'the files of %s',
  (symbol) => {
    test('hold up to a strict reader', async () => {
      const { port } = await serve();
      const files = await new Reflection(port).filesOf(symbol);
      const byName = new Map(files.map((file) => [file.name, file]));
      expect(files).not.toEqual([]);
      for (const file of files) {
        const reachable = [file, ...file.dependency.map((name) => byName.get(name)!)].flatMap(declared);
        for (const { message } of allMessages(file.messageType, file.package)) {
          const named = message.field.map(({ typeName }) => typeName).filter((name) => name !== '');
          expect(
            named.filter((name) => !reachable.includes(name)),
            message.name,
          ).toEqual([]);
          const realOneofs = message.oneofDecl.map(({ name }) => !name.startsWith('_'));
          expect(realOneofs, 'oneofs of optional fields come last').toEqual(realOneofs.toSorted().reverse());
          for (const field of message.field.filter((each) => Object.hasOwn(each, 'oneofIndex'))) {
            expect(field.proto3Optional).toBe(message.oneofDecl[field.oneofIndex]!.name === `_${field.name}`);
          }
          for (const entry of message.nestedType.filter(({ options }) => options?.mapEntry)) {
            const camel = entry.name.replace(/Entry$/, '').toLowerCase();
            const field = message.field.find(({ typeName }) => typeName.endsWith(`.${message.name}.${entry.name}`));
            expect(field?.name.replaceAll('_', '')).toBe(camel);
            expect(entry.name.endsWith('Entry')).toBe(true);
          }
        }
      }
    });
  },
);

test('an error is read with nothing but what reflection says', async () => {
  const server = await serve();
  const error = await ask(rawClient(server), 'GetRun', { run: 'nobody' }).then(
    () => undefined,
    (failed: { metadata: Metadata }) => failed,
  );
  const trailer = error?.metadata.get('grpc-status-details-bin')[0] as Buffer;
  const reflection = new Reflection(server.port);
  const rootOf = async (symbol: string) => {
    const { file_descriptor_response: response } = await reflection.ask({ file_containing_symbol: symbol });
    const file = response!.file_descriptor_proto.map((bytes) => descriptor.FileDescriptorProto.decode(bytes));
    return (protobuf.Root as unknown as { fromDescriptor(set: object): protobuf.Root }).fromDescriptor({ file });
  };
  const status = (await rootOf('google.rpc.Status')).lookupType('google.rpc.Status').decode(trailer);
  const [any] = (status as unknown as { details: { type_url: string; value: Buffer }[] }).details;
  const type = any!.type_url.replace('type.googleapis.com/', '');
  const info = (await rootOf(type)).lookupType(type).decode(any!.value);
  // For a map from a descriptor protobufjs wants the entries as they are on the wire: a list of keys and values.
  const metadata = [{ key: 'run', value: 'nobody' }];
  expect(info.toJSON()).toEqual({ reason: 'RUN_NOT_FOUND', domain: 'shadowkeep.dev', metadata });
});

test('a symbol that nobody declares is NOT_FOUND', async () => {
  const { port } = await serve();
  const answer = await new Reflection(port).ask({ file_containing_symbol: 'shadowkeep.v1.Nothing' });
  expect(answer.error_response?.error_code).toBe(5);
});
