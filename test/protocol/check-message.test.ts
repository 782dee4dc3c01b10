import { expect, test } from 'vitest';
import { checkMessage, SINGLE_REQUESTS, shadowWeightsDefinition } from '../../src/protocol/index.js';

const refusal = (type: string, message: object): string => {
  try {
    checkMessage(type, message);
    return 'taken';
  } catch (error) {
    return (error as Error).message;
  }
};

const COUNT = 'must be an integer from 0 to 9007199254740991, got';

test.each([
  [{ writers: 1.5 }, `writers ${COUNT} 1.5`],
  [{ trainer_step: -1 }, `trainer_step ${COUNT} -1`],
  [{ resume_step: Number.NaN }, `resume_step ${COUNT} NaN`],
  [{ resume_step: 2 ** 53 }, `resume_step ${COUNT} 9007199254740992`],
  [{ retain: { every_steps: 0.5 } }, `retain.every_steps ${COUNT} 0.5`],
  [{ retain: 3 }, 'retain must be an object, got 3'],
  [{ tensors: [{ name: 'w' }, { shape: [2, -1] }] }, `tensors[1].shape[1] ${COUNT} -1`],
  [{ tensors: { name: 'w' } }, 'tensors must be a list, got [object Object]'],
  [{ non_finite: 'KEEP' }, 'non_finite must be one of ACCEPT, REJECT_STEP, SKIP_TENSOR, got "KEEP"'],
  [{ averages: [{ constant: { decay: '0.9' } }] }, 'averages[0].constant.decay must be a number, got "0.9"'],
  [
    { averages: [{ constant: { deacy: 0.9 } }] },
    'averages[0].constant.deacy is no field of ConstantDecay, which has decay',
  ],
  [{ averages: [{ bias_correction: 1 }] }, 'averages[0].bias_correction must be true or false, got 1'],
  [{ run: 7 }, 'run must be a text, got 7'],
])('%j would arrive as something else', (message, problem) => {
  expect(refusal('OpenRunRequest', message)).toBe(problem);
});

test('what arrives as it is, is taken: also what is left out, and what came from the service', () => {
  const { requestSerialize, requestDeserialize } = shadowWeightsDefinition.OpenRun;
  const request = {
    run: 'r',
    tensors: [{ name: 'w', dtype: 'BF16', shape: [2, 0], policy: undefined }],
    averages: [{ name: 'a', start: 'FIRST', constant: { decay: Number.NaN }, delay_updates: 3 }],
    resume_step: 0,
  } as const;
  expect(refusal('OpenRunRequest', request)).toBe('taken');
  expect(refusal('OpenRunRequest', requestDeserialize(requestSerialize(request as never)))).toBe('taken');
});

test('every request that is one message is known', () => {
  expect(SINGLE_REQUESTS.map(([method]) => method)).toContain('GetShadow');
  for (const [, type] of SINGLE_REQUESTS) expect(refusal(type, { nobody: 1 })).toMatch(/^nobody is no field of /);
});
