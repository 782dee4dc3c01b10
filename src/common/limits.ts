import { assert } from './assert.js';

/**
 * Every bound of the service: its unit is the end of its name, its reason the comment above it. Relations between
 * them are asserted below, when the module is loaded.
 */

/** Alignment of each box in a byte space and of each tensor in the flat space: one cache line, and every SIMD type. */
export const ALIGNMENT_BYTES = 64;

/** Chunks are cut on multiples of it: no element of any dtype (at most 8 bytes) straddles a cut. */
export const CHUNK_CUT_BYTES = 16;

/**
 * Bytes of data in a chunk that clients send and that the server answers with. grpc-js queues 16 messages a stream, so 1
 * MiB bounds a stream to 16 MiB.
 */
export const CHUNK_BYTES = 1 << 20;

/** Largest chunk taken: under gRPC's default limit of 4 MiB a message, header included. */
export const CHUNK_BYTES_MAX = 4 * (1 << 20) - 4096;

/** Largest message: an opening of BOX_COUNT_MAX boxes fits, and what is larger comes in parts. */
export const MESSAGE_BYTES_MAX = 8 * (1 << 20);

/**
 * Largest request that is decoded in one go, which holds the event loop: a GetShadow with a box for each of many tensors.
 */
export const REQUEST_BYTES_MAX = 1 << 20;

/** Layouts come in messages of about this size. */
export const LAYOUT_PART_BYTES = 1 << 20;

/** They go out in smaller ones: some thousand tensors are encoded in one go, which holds the event loop for 10 ms. */
export const ANSWER_PART_BYTES = 1 << 18;

/** A whole layout on the wire: TENSOR_COUNT_MAX tensors with the longest names and four dimensions fit. */
export const LAYOUT_BYTES_MAX = 48 * (1 << 20);

/** Ten times the tensors of the largest open models; bounds the memory of one layout to tens of MiB. */
export const TENSOR_COUNT_MAX = 65_536;

/** Ranks of one trainer: what the largest open trainings shard their weights over, with room. */
export const WRITER_COUNT_MAX = 1_024;

/** Four boxes for each tensor of the largest layout; bounds the memory of one declaration to tens of MiB. */
export const BOX_COUNT_MAX = 4 * TENSOR_COUNT_MAX;

/** A box has 2^n corners inside of a tensor that it ends inside of in n dimensions; meshes have at most five. */
export const BOX_CUT_COUNT_MAX = 8;

/** Each retained version costs up to the memory of the run. */
export const RETAIN_COUNT_MAX = 64;

/** The rank limit of PyTorch (64). */
export const RANK_MAX = 64;

/** Longer than any module path seen (about 200), short enough for a log line. */
export const TENSOR_NAME_BYTES_MAX = 512;

/** A run's name is a folder's name on disk too (255 bytes at most there, with room for suffixes). */
export const RUN_NAME_CHARS_MAX = 128;

export const AVERAGE_NAME_CHARS_MAX = 64;

/** Averages cost 4 or 8 bytes a parameter each; more than 16 is a mistake. */
export const AVERAGE_COUNT_MAX = 16;

/** Each run holds at least one arena; bounds the table, and address space to 10 TiB of 128. */
export const RUN_COUNT_MAX = 1_000;

/** A replica group travels in 32 bits; 0 is none. */
export const REPLICA_GROUP_MAX = 2 ** 32 - 1;

/** Elements stay exact in a JavaScript number, and byte offsets of 8-byte elements too. */
export const ELEMENT_COUNT_MAX = 2 ** 50;

/** Follow an evaluator's patience, not a hung client: one hour. */
export const WAIT_MS_MAX = 3_600_000;

/** Longest incarnation id; a UUID has 36. */
export const INCARNATION_CHARS_MAX = 128;

/** Name patterns in one list: of a read, of an average's include, of the policies. */
export const PATTERN_COUNT_MAX = 1_024;

/**
 * The patterns of a run's averages and policies together, and their characters: they are kept, and compiled in one go.
 */
export const PATTERN_SUM_COUNT_MAX = 8_192;
export const PATTERN_SUM_CHARS_MAX = 1 << 20;

/** The characters of the patterns with stars in one matcher: each is a node of an automaton, of about 60 bytes. */
export const PATTERN_STAR_CHARS_MAX = 1 << 17;

/** Largest cost of the patterns of one request, in characters looked at: about two seconds of work, in slices. */
export const PATTERN_WORK_MAX = 2 ** 27;

/** Longest text of the preset that an average was expanded from. */
export const PRESET_BYTES_MAX = 512;

/** Snapshots of all averages together: the system that a combination solves has as many unknowns. */
export const SNAPSHOT_COUNT_MAX = 256;

/** The largest relative width of a power-function average, that of the exponent 0, the plain average: 1 / √12. */
export const SIGMA_REL_MAX = 1 / Math.sqrt(12);

/** Twice the longest name: stars need no more. */
export const PATTERN_CHARS_MAX = 1_024;

assert(CHUNK_BYTES % CHUNK_CUT_BYTES === 0, 'chunks are cut on multiples of CHUNK_CUT_BYTES');
assert(CHUNK_BYTES <= CHUNK_BYTES_MAX, 'the default chunk is legal');
assert(CHUNK_BYTES_MAX % CHUNK_CUT_BYTES === 0, 'the largest chunk can be cut');
assert(CHUNK_BYTES_MAX < MESSAGE_BYTES_MAX, 'a chunk fits in a message');
assert(
  TENSOR_COUNT_MAX * (TENSOR_NAME_BYTES_MAX + 64) <= LAYOUT_BYTES_MAX,
  'the most tensors with the longest names and four dimensions fit together',
);
assert(2 * TENSOR_COUNT_MAX * TENSOR_NAME_BYTES_MAX <= PATTERN_WORK_MAX, 'a few patterns over any layout are allowed');
assert(ALIGNMENT_BYTES % CHUNK_CUT_BYTES === 0, 'a box starts where a cut may fall');
assert(ELEMENT_COUNT_MAX * 8 <= Number.MAX_SAFE_INTEGER + 1, 'byte offsets are exact');
