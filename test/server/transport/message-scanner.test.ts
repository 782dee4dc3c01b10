import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageScanner } from '../../../src/server/transport/message-scanner.js';

function scan(pieces: Uint8Array[]): string[] {
  const seen: string[] = [];
  const scanner = new MessageScanner({
    begins: (bytes, isCompressed) => seen.push(`${isCompressed ? 'compressed ' : ''}begins ${bytes}`),
    ends: (bytes) => seen.push(`ends ${bytes}`),
  });
  for (const piece of pieces) scanner.scan(piece);
  return seen;
}

function message(bytes: number, flag = 0): Buffer {
  const whole = Buffer.alloc(5 + bytes, 0xff);
  whole[0] = flag;
  whole.writeUInt32BE(bytes, 1);
  return whole;
}

test('tells of each message wherever its bytes are cut', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 });
  fc.assert(
    fc.property(sizes, cuts, (messages, steps) => {
      const whole = Buffer.concat(messages.map((bytes) => message(bytes)));
      const pieces: Buffer[] = [];
      for (let at = 0, next = 0; at < whole.length; next++) {
        const end = at + (steps[next % steps.length] as number);
        pieces.push(whole.subarray(at, end));
        at = end;
      }
      expect(scan(pieces)).toEqual(messages.flatMap((bytes) => [`begins ${bytes}`, `ends ${bytes}`]));
    }),
  );
});

test('tells of a message when its prefix is there, and of compression', () => {
  expect(scan([message(8, 1).subarray(0, 12)])).toEqual(['compressed begins 8']);
  expect(scan([message(8).subarray(0, 4)])).toEqual([]);
});
