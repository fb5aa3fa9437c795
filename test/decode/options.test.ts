// Options of a generation: defaults, ranges, and errors that say what was expected.
import { generateOptionNames, resolveOptions, type GenerateOptions } from '../../lib/decode/options.js';

const failure = (options: unknown): { code: string; message: string; remedy?: string } => {
  try {
    resolveOptions(options as GenerateOptions, 100);
  } catch (error) {
    return error as { code: string; message: string; remedy?: string };
  }
  throw new Error('no error');
};

test('without options everything has its default', () => {
  const { sampler, stop, logprobs, maxTokens } = resolveOptions(undefined, 100);
  expect(sampler).toMatchObject({ temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05, typicalP: 1, vocab: 100 });
  expect({ stop, logprobs, maxTokens }).toEqual({ stop: [], logprobs: false, maxTokens: undefined });
  expect(sampler.seed).not.toBe(resolveOptions({}, 100).sampler.seed);
});

test.each([
  ['temprature', 'temperature'],
  ['top_k', 'topK'],
  ['topk', 'topK'],
  ['max_tokens', 'maxTokens'],
  ['maxToken', 'maxTokens'],
  ['repeatPenalty', 'repetitionPenalty'],
  ['stops', 'stop'],
  ['log_probs', 'logprobs'],
])('%s is answered with %s', (wrong, right) => {
  expect(failure({ [wrong]: 1 })).toMatchObject({ code: 'INVALID_ARGUMENT', remedy: `Did you mean \`${right}\`?` });
});

test('a name that resembles none is answered with the list', () => {
  expect(failure({ beams: 4 }).remedy).toContain(generateOptionNames.join(', '));
});

test.each<[keyof GenerateOptions, unknown, string]>([
  ['maxTokens', 0, 'Expected an integer of at least 1 for `maxTokens`, received 0'],
  ['maxTokens', 1.5, 'Expected an integer of at least 1 for `maxTokens`, received 1.5'],
  ['temperature', -1, 'Expected a number from 0 to 100 for `temperature`, received -1'],
  ['temperature', '1', 'Expected a number from 0 to 100 for `temperature`, received "1"'],
  ['topP', NaN, 'received NaN'],
  ['topP', 0, 'received 0'],
  ['topK', -1, 'Expected an integer of at least 0 for `topK`, received -1'],
  ['minP', 2, 'Expected a number from 0 to 1 for `minP`, received 2'],
  ['presencePenalty', 3, 'Expected a number from -2 to 2 for `presencePenalty`, received 3'],
  ['repetitionPenalty', 0, 'received 0'],
  ['seed', -1, 'Expected an integer from 0 to 2^64 − 1 for `seed`, received -1'],
  ['seed', 1n << 64n, 'received 18446744073709551616'],
  ['stop', '', 'Expected a string of at least one character for `stop`, received ""'],
  ['stop', ['a', 3], 'received 3'],
  ['logprobs', 101, 'Expected an integer from 0 to 100 for `logprobs`, received 101'],
  ['logitBias', { 100: 1 }, 'Expected token ids from 0 to 99 for `logitBias`, received "100"'],
  ['logitBias', new Map([[5, NaN]]), 'Expected a number or -Infinity for `logitBias[5]`, received NaN'],
  ['logitBias', 7, 'Expected a Map or an object for `logitBias`, received 7'],
  ['signal', {}, 'Expected an AbortSignal for `signal`, received Object'],
])('%s: %p is refused', (name, value, message) => {
  const error = failure({ [name]: value });
  expect(error.code).toBe('INVALID_ARGUMENT');
  expect(error.message).toContain(message);
});

test('biases come as an object or a map, seeds as number or bigint', () => {
  const { sampler } = resolveOptions({ logitBias: { 3: -Infinity, 4: 1.5 }, seed: 7 }, 100);
  expect([...sampler.logitBias]).toEqual([
    [3, -Infinity],
    [4, 1.5],
  ]);
  expect(sampler.seed).toBe(7n);
  expect(resolveOptions({ logitBias: new Map([[2, 1]]), seed: 7n }, 100).sampler.seed).toBe(7n);
});
