// Encodes and decodes the details of an error in the trailer `grpc-status-details-bin`, in protobuf:
// google.rpc.Status { 1: code, 2: message, 3: [ Any { 1: type_url, 2: ErrorInfo { 1: reason, 2: domain, 3: metadata } }
// ] }
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader';
import { ERROR_DOMAIN, type ShadowkeepError } from '../common/index.js';
import { PROTO_OPTIONS, STATUS_PROTOS } from './definition.js';

interface Status {
  code: number;
  message: string;
  details: { type_url: string; value: Uint8Array }[];
}

interface ErrorInfo {
  reason: string;
  domain: string;
  metadata: Readonly<Record<string, string>>;
}

/** What a peer says about an error. `reason` may be missing in ERROR_TABLE, because a newer peer may know more. */
export interface ErrorDetails extends ErrorInfo {
  message: string;
}

const ERROR_INFO_TYPE = 'google.rpc.ErrorInfo';
const ERROR_INFO_URL = `type.googleapis.com/${ERROR_INFO_TYPE}`;

/**
 * Longest message in the details. All trailers travel in one header block, of which grpc-js takes 16 KiB by default,
 * and base64 adds a third to the details.
 */
const MESSAGE_CHARS_MAX = 2_048;

const definitions = loadSync(STATUS_PROTOS, PROTO_OPTIONS);
const statusType = definitions['google.rpc.Status'] as unknown as MessageTypeDefinition<Status, Status>;
const errorInfoType = definitions[ERROR_INFO_TYPE] as unknown as MessageTypeDefinition<ErrorInfo, ErrorInfo>;

/** The bytes of `grpc-status-details-bin` for an error. The error's cause is not sent. */
export function encodeErrorDetails(error: ShadowkeepError, grpcCode: number): Buffer {
  const { reason, metadata } = error;
  return statusType.serialize({
    code: grpcCode,
    message: error.message.slice(0, MESSAGE_CHARS_MAX),
    details: [{ type_url: ERROR_INFO_URL, value: errorInfoType.serialize({ reason, domain: ERROR_DOMAIN, metadata }) }],
  });
}

/**
 * The first ErrorInfo in the bytes of `grpc-status-details-bin`; undefined when there is none or they are no Status.
 */
export function decodeErrorDetails(buffer: Uint8Array): ErrorDetails | undefined {
  try {
    const status = statusType.deserialize(Buffer.from(buffer));
    const detail = status.details.find((any) => any.type_url.endsWith(`/${ERROR_INFO_TYPE}`));
    if (detail === undefined) return undefined;
    const { reason, domain, metadata } = errorInfoType.deserialize(Buffer.from(detail.value));
    return { reason, domain, metadata: { ...metadata }, message: status.message };
  } catch {
    return undefined;
  }
}
