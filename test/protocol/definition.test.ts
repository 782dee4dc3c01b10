import { expect, test } from 'vitest';
import { SERVICE_NAME, shadowWeightsDefinition } from '../../src/protocol/index.js';

test('the service has its ten methods under its full name', () => {
  expect(Object.values(shadowWeightsDefinition).map((method) => method.path)).toEqual(
    [
      'OpenRun',
      'OpenRunInParts',
      'Update',
      'GetShadow',
      'WatchRun',
      'GetRun',
      'ListRuns',
      'AddAverage',
      'RemoveAverage',
      'DeleteRun',
    ].map((method) => `/${SERVICE_NAME}/${method}`),
  );
});

test('messages look as the generated types say: numbers, enum names, absent optionals, views of bytes', () => {
  const { requestSerialize, requestDeserialize } = shadowWeightsDefinition.Update;
  const bytes = requestSerialize({ chunk: { step: 2 ** 40, data: Buffer.from('abc') } });
  const { message, chunk } = requestDeserialize(bytes);
  expect(message).toBe('chunk');
  expect(chunk).toEqual({ step: 2 ** 40, offset: 0, data: Buffer.from('abc') });
  expect(chunk!.data.buffer).toBe(bytes.buffer);
  const open = requestDeserialize(requestSerialize({ open: { wire_dtype: 'BF16' } })).open;
  expect(open).toEqual({
    run: '',
    generation: 0,
    writer: 0,
    boxes: [],
    wire_dtype: 'BF16',
    takeover: false,
    session: '',
  });
});
