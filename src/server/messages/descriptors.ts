// Makes the descriptors of proto files for reflection as protoc makes them. The loader's own (protobufjs) suffice for
// lenient readers only. Go's reader, and so grpcurl, refuses types that are named relatively or come from a file that
// is not imported, and map entries with other names than protoc's, and it shows an `optional` field as a oneof.
import { type AnyDefinition, loadSync, type PackageDefinition } from '@grpc/proto-loader';
import descriptor from 'protobufjs/ext/descriptor/index.js';
import { PROTO, PROTO_OPTIONS, STATUS_PROTOS } from '../../protocol/index.js';

/** The part of google/protobuf/descriptor.proto that this file looks at. */
interface FileDescriptor {
  readonly name: string;
  readonly package: string;
  readonly messageType: readonly MessageDescriptor[];
  readonly enumType: readonly { readonly name: string }[];
  readonly service: readonly { readonly method: readonly { inputType: string; outputType: string }[] }[];
  dependency: string[];
}
interface MessageDescriptor {
  name: string;
  readonly field: FieldDescriptor[];
  readonly nestedType: readonly MessageDescriptor[];
  readonly enumType: readonly { readonly name: string }[];
  readonly options?: { readonly mapEntry: boolean } | null;
  oneofDecl: { readonly name: string }[];
}
interface FieldDescriptor {
  readonly name: string;
  typeName: string;
  oneofIndex?: number;
  proto3Optional: boolean;
}

/** Any type of the loader's, with the descriptors of the files that it needs. */
interface Described {
  readonly fileDescriptorProtos?: readonly Buffer[];
}

/** All services and messages of Shadowkeep and of gRPC's error details, and the files of `others`, for reflection. */
export function reflectedDefinition(...others: readonly Described[]): PackageDefinition {
  const ours: readonly Described[] = Object.values(loadSync([PROTO, ...STATUS_PROTOS], PROTO_OPTIONS));
  const files = new Map<string, FileDescriptor>();
  for (const bytes of [...ours, ...others].flatMap(({ fileDescriptorProtos = [] }) => fileDescriptorProtos)) {
    const file = descriptor.FileDescriptorProto.decode(bytes) as unknown as FileDescriptor;
    files.set(file.name, file);
  }
  correct([...files.values()]);
  const encoded = [...files.values()].map((file) => Buffer.from(descriptor.FileDescriptorProto.encode(file).finish()));
  // The reflection service reads only the files of a definition, so one entry carries them all.
  return { files: { fileDescriptorProtos: encoded } as unknown as AnyDefinition };
}

function correct(files: readonly FileDescriptor[]): void {
  for (const file of files) for (const message of file.messageType) nameMapEntries(message);
  const homes = new Map<string, FileDescriptor>();
  for (const file of files) {
    for (const { name } of file.enumType) homes.set(`${file.package}.${name}`, file);
    for (const message of file.messageType) addHomes(homes, file, file.package, message);
  }
  for (const file of files) {
    const used = new Set<FileDescriptor>();
    const absolute = (scope: string, name: string) => {
      const full = resolve(homes, scope, name);
      used.add(homes.get(full)!);
      return `.${full}`;
    };
    for (const message of file.messageType) correctMessage(message, `${file.package}.${message.name}`, absolute);
    for (const method of file.service.flatMap((service) => service.method)) {
      method.inputType = absolute(file.package, method.inputType);
      method.outputType = absolute(file.package, method.outputType);
    }
    used.delete(file);
    file.dependency = [...used].map(({ name }) => name);
  }
}

/** Gives map entries protoc's names: for `map<…> box_counts` the loader says Box_counts and protoc BoxCountsEntry. */
function nameMapEntries(message: MessageDescriptor): void {
  for (const entry of message.nestedType) {
    nameMapEntries(entry);
    const field = message.field.find(({ typeName }) => typeName === entry.name);
    if (!entry.options?.mapEntry || field === undefined) continue;
    entry.name = `${field.name.replace(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase())}Entry`;
    field.typeName = entry.name;
  }
}

function addHomes(
  homes: Map<string, FileDescriptor>,
  file: FileDescriptor,
  scope: string,
  message: MessageDescriptor,
): void {
  const full = `${scope}.${message.name}`;
  homes.set(full, file);
  for (const { name } of message.enumType) homes.set(`${full}.${name}`, file);
  for (const nested of message.nestedType) addHomes(homes, file, full, nested);
}

function correctMessage(
  message: MessageDescriptor,
  full: string,
  absolute: (scope: string, name: string) => string,
): void {
  for (const nested of message.nestedType) correctMessage(nested, `${full}.${nested.name}`, absolute);
  // An `optional` field has a oneof of its own, whose name begins with `_`. protoc puts these behind the real oneofs.
  const isOptional = ({ name }: { name: string }) => name.startsWith('_');
  const before = message.oneofDecl;
  message.oneofDecl = [...before.filter((oneof) => !isOptional(oneof)), ...before.filter(isOptional)];
  for (const field of message.field) {
    if (field.typeName !== '') field.typeName = absolute(full, field.typeName);
    // A field in no oneof has only its prototype's default of oneofIndex; once set on the field it would be encoded.
    if (!Object.hasOwn(field, 'oneofIndex')) continue;
    const oneof = before[field.oneofIndex ?? 0]!;
    field.oneofIndex = message.oneofDecl.indexOf(oneof);
    if (isOptional(oneof)) field.proto3Optional = true;
  }
}

/** The full name of the type that `name` means within `scope`: the innermost type that fits, as in C++. */
function resolve(homes: ReadonlyMap<string, FileDescriptor>, scope: string, name: string): string {
  if (name.startsWith('.')) return name.slice(1);
  for (let outer = scope; outer !== ''; outer = outer.slice(0, Math.max(outer.lastIndexOf('.'), 0))) {
    if (homes.has(`${outer}.${name}`)) return `${outer}.${name}`;
  }
  return name;
}
