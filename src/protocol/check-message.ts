import { ShadowkeepError, shown } from '../common/index.js';
import { packageDefinition, shadowWeightsDefinition } from './definition.js';

/*
 * Finds values that the protobuf encoder would silently send as something else. The encoder drops a field that the message
 * does not have and a word that its enum does not have; it sends 1.5 as 1, and a count below 0 or NaN as 0.
 */

/** One field of a message, as its descriptor describes it. */
interface Field {
  readonly name: string;
  readonly label: string;
  readonly type: string;
  /** The name, within the package, of the message or enum that is the field's type. */
  readonly typeName: string;
}

interface MessageShape {
  readonly fields: ReadonlyMap<string, Field>;
  /** Names of the message's oneofs. A decoded message has them as extra fields that say which member is set. */
  readonly oneofs: ReadonlySet<string>;
}

const PACKAGE = 'shadowkeep.v1';

/** The methods whose request is a single message, each with the type of that message. */
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
 * Throws INVALID_FIELD unless a message arrives as it is. `type` is its name in the package, such as "OpenRunRequest".
 * Bounds that are narrower than those of the field's type are left to the service.
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

/** The words of an enum. The first one is the unspecified value. */
function wordsOf(type: string): string[] {
  return descriptorOf<{ value: { name: string }[] }>(type).value.map(({ name }) => name);
}

function descriptorOf<Descriptor>(type: string): Descriptor {
  return packageDefinition[`${PACKAGE}.${type}`]?.type as Descriptor;
}

function refused(field: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_FIELD', `${field} ${problem}`, { metadata: { field } });
}
