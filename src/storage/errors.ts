/** The kind of a failure, for programs. The error's message says which file failed and how. */
export type StorageErrorCode =
  /** The target is there already and may not be replaced. */
  | 'EXISTS'
  | 'NOT_FOUND'
  /** The disk or the quota is full. */
  | 'NO_SPACE'
  /** Not a file of the expected format, or one over its bounds. */
  | 'INVALID_FILE'
  /** The caller gave something that cannot be written: a path, a tensor list, bytes that do not fit them. */
  | 'INVALID_INPUT'
  /** A file of a checkpoint is not what its manifest says. */
  | 'DAMAGED'
  /** Written by a newer version of this program. */
  | 'TOO_NEW'
  /** Another process holds the data directory. */
  | 'LOCKED'
  /** A link, or something else that is not ours, inside the data directory. */
  | 'UNSAFE_PATH'
  /** The kernel could not promise that written bytes are on the disk. */
  | 'FSYNC'
  /** Any other failure of the system. */
  | 'IO';

/** A failure of local storage. Its message names files, so it goes to the log or the terminal, never to a peer. */
export class StorageError extends Error {
  override readonly name: string = 'StorageError';
  readonly code: StorageErrorCode;
  readonly path: string;

  constructor(code: StorageErrorCode, path: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.path = path;
  }
}

/**
 * An fsync failed. The kernel marks the lost pages clean, so a second fsync would succeed without the data (ATC'20,
 * "Can Applications Recover from fsync Failures?"): nobody may try again, and a server that sees this error stops.
 */
export class StorageFatalError extends StorageError {
  override readonly name = 'StorageFatalError';

  constructor(path: string, cause: unknown) {
    super('FSYNC', path, `fsync of ${path} failed, so what was written may be lost: ${messageOf(cause)}`, cause);
  }
}

const CODE_OF_ERRNO: Readonly<Record<string, StorageErrorCode>> = {
  EEXIST: 'EXISTS',
  ENOENT: 'NOT_FOUND',
  ENOSPC: 'NO_SPACE',
  EDQUOT: 'NO_SPACE',
  // A symbolic link where none may be (O_NOFOLLOW).
  ELOOP: 'UNSAFE_PATH',
};

/** A failed system call as a StorageError: "cannot ACTION PATH: REASON". One of ours stays what it is. */
export function storageError(error: unknown, action: string, path: string): StorageError {
  if (error instanceof StorageError) return error;
  const code = CODE_OF_ERRNO[errnoOf(error) ?? ''] ?? 'IO';
  return new StorageError(code, path, `cannot ${action} ${path}: ${messageOf(error)}`, error);
}

/** The name of a system error ("ENOENT"), or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Why the system refused, without paths: "ENOSPC", or the code where there is no name. */
export function systemReason(error: unknown): string {
  if (!(error instanceof StorageError)) return errnoOf(error) ?? 'unknown';
  return errnoOf(error.cause) ?? error.code;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
