import { CHUNK_BYTES_MAX, CHUNK_CUT_BYTES, type ErrorReason, ShadowkeepError } from '../../common/index.js';
import type { WriterSlot } from './writer-slot.js';

/**
 * Throws unless a chunk is the next one of its step. It may have any length, must not cut an element, and must end inside
 * the step.
 */
export function checkChunk(
  { part, receivedBytes }: WriterSlot,
  step: number,
  partOffset: number,
  length: number,
): void {
  const { firstStepBytes: totalBytes } = part;
  const end = partOffset + length;
  const metadata = { step, offset: partOffset, length, receivedBytes, stepBytes: totalBytes };
  const fail = (reason: ErrorReason, problem: string): never => {
    throw new ShadowkeepError(reason, `chunk of step ${step} at offset ${partOffset} with ${length} bytes ${problem}`, {
      metadata,
    });
  };
  if (length > CHUNK_BYTES_MAX) fail('INVALID_FIELD', `is larger than ${CHUNK_BYTES_MAX}`);
  if (length === 0) fail('INVALID_FIELD', 'is empty');
  if (end > totalBytes) fail('CHUNK_PAST_END', `ends past the step's ${totalBytes}`);
  if (partOffset > receivedBytes) fail('CHUNK_GAP', `leaves a gap, ${receivedBytes} bytes have arrived`);
  if (partOffset < receivedBytes) fail('CHUNK_OVERLAP', `overlaps, ${receivedBytes} bytes have arrived`);
  if (end % CHUNK_CUT_BYTES !== 0) fail('CHUNK_UNALIGNED', `does not end on a multiple of ${CHUNK_CUT_BYTES}`);
}

/**
 * Throws unless the writer's part has arrived whole and `bytes` is its length: that of the first step while `isFirst`,
 * afterwards that or the one without the tensors of policy COPY_ONCE. A part without bytes has no chunks.
 */
export function checkWhole({ part, receivedBytes }: WriterSlot, step: number, bytes: number, isFirst: boolean): void {
  const { stepBytes, firstStepBytes } = part;
  const isLength = bytes === firstStepBytes || (bytes === stepBytes && !isFirst);
  if (isLength && receivedBytes === bytes) return;
  const wanted = isFirst ? firstStepBytes : stepBytes;
  const once = isFirst && firstStepBytes > stepBytes ? ', with the tensors that are sent once' : '';
  throw new ShadowkeepError(
    'STEP_INCOMPLETE',
    `commit of step ${step} says ${bytes} bytes and ${receivedBytes} arrived, a step of this writer has ${wanted}${once}`,
    { metadata: { step, saidBytes: bytes, receivedBytes, stepBytes: wanted } },
  );
}

/** Throws STEP_MISMATCH when the writer is in the middle of another step. */
export function checkStep({ receiving }: WriterSlot, step: number): void {
  if (receiving === undefined || step === receiving.step) return;
  throw new ShadowkeepError('STEP_MISMATCH', `step ${step} came while step ${receiving.step} is being received`, {
    metadata: { step, expectedStep: receiving.step },
  });
}
