import { ShadowkeepError, shown } from '../common/index.js';
import { packageDefinition, shadowWeightsDefinition } from './definition.js';

/*
 * What the encoder would send as something else, without a word: it drops a field that the message does not have and a word
 * that its enum does not have, takes 1.5 for 1, and a count below 0 or NaN for 0.
 */

/** One field of a message, as the descriptor has it. */
interface Field {
  readonly name: string;
  readonly label: string;
  readonly type: string;
  /** The name in the package of the field's message or enum. */
  readonly typeName: string;
}

interface MessageShape {
  readonly fields: ReadonlyMap<string, Field>;
  /** Names under which a decoded message says which field of a oneof it has. */
  readonly oneofs: ReadonlySet<string>;
}

const PACKAGE = 'shadowkeep.v1';

/** Methods whose request is one message, and its type. */
export const SINGLE_REQUESTS: readonly (readonly [method: string, type: string])[] = Object.entries(
  shadowWeightsDefinition as unknown as Record<
    string,
    { requestStream: boolean; requestType: { type: { name: string } } }
  >,
).flatMap(([method, { requestStream, requestType }]) =>
  requestStream ? [] : [[method, requestType.type.name] as const],
);

const shapes = new Map<string, MessageShape>();

/**
 * Throws INVALID_FIELD unless a message of the package ("OpenRunRequest") arrives as it is. What lies inside of the bounds of
 * its types is left to the service.
 */
export function checkMessage(type: string, message: object, path = ''): void {
  const { fields, oneofs } = shapeOf(type);
  for (const [name, value] of Object.entries(message)) {
    if (value === undefined || value === null || oneofs.has(name)) continue;
    const where = path === '' ? name : `${path}.${name}`;
    const field = fields.get(name);
    if (field === undefined) throw refused(where, `is no field of ${type}, which has ${[...fields.keys()].join(', ')}`);
    if (field.label !== 'LABEL_REPEATED') checkValue(field, value, where);
    else if (!Array.isArray(value)) throw refused(where, `must be a list, got ${shown(value)}`);
    else for (const [index, entry] of value.entries()) checkValue(field, entry, `${where}[${index}]`);
  }
}

function checkValue({ type, typeName }: Field, value: unknown, where: string): void {
  switch (type) {
    case 'TYPE_MESSAGE':
      if (typeof value !== 'object' || value === null) throw refused(where, `must be an object, got ${shown(value)}`);
      checkMessage(typeName, value, where);
      return;
    case 'TYPE_ENUM':
      if (typeof value === 'number' || wordsOf(typeName).includes(String(value))) return;
      throw refused(where, `must be one of ${wordsOf(typeName).slice(1).join(', ')}, got ${shown(value)}`);
    case 'TYPE_STRING':
      if (typeof value === 'string') return;
      throw refused(where, `must be a text, got ${shown(value)}`);
    case 'TYPE_BOOL':
      if (typeof value === 'boolean') return;
      throw refused(where, `must be true or false, got ${shown(value)}`);
    case 'TYPE_UINT32':
    case 'TYPE_UINT64':
      if (Number.isSafeInteger(value) && Number(value) >= 0) return;
      throw refused(where, `must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got ${shown(value)}`);
    case 'TYPE_DOUBLE':
      if (typeof value === 'number') return;
      throw refused(where, `must be a number, got ${shown(value)}`);
    default:
  }
}

function shapeOf(type: string): MessageShape {
  const known = shapes.get(type);
  if (known !== undefined) return known;
  const { field, oneofDecl } = descriptorOf<{ field: Field[]; oneofDecl: { name: string }[] }>(type);
  const shape = {
    fields: new Map(field.map((entry) => [entry.name, entry])),
    oneofs: new Set(oneofDecl.map(({ name }) => name)),
  };
  shapes.set(type, shape);
  return shape;
}

/** The first says that nothing is said. */
function wordsOf(type: string): string[] {
  return descriptorOf<{ value: { name: string }[] }>(type).value.map(({ name }) => name);
}

function descriptorOf<Descriptor>(type: string): Descriptor {
  return packageDefinition[`${PACKAGE}.${type}`]?.type as Descriptor;
}

function refused(field: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_FIELD', `${field} ${problem}`, { metadata: { field } });
}
