// Compiled, never run: the public API as a caller in strict TypeScript writes it.
import {
  datastore,
  Datastore,
  embeddedModelPath,
  estimateMemory,
  inputCopy,
  listDevices,
  loadModel,
  nGram,
  openModelFile,
  quantizeModel,
  suffix,
  SuffixCache,
  tokenizerFingerprint,
  VivaceError,
  type Chat,
  type DeviceReport,
  type Draft,
  type Drafter,
  type ErrorCode,
  type GenerateOptions,
  type GenerateResult,
  type GenerationDrafter,
  type MemoryEstimate,
  type Model,
  type ModelInfo,
  type Piece,
  type QuantizeResult,
  type QuantizeType,
  type Session,
  type SpeculationOptions,
  type SpeculationResult,
  type Verifier,
} from '../../lib/index.js';

export async function everything(signal: AbortSignal): Promise<void> {
  const path: string = embeddedModelPath();
  const devices: DeviceReport[] = await listDevices();
  console.log(devices.filter(({ usable }) => usable).map(({ device, freeMemory = 0 }) => `${device} ${freeMemory}`));
  const before: MemoryEstimate = estimateMemory(openModelFile(path), { contextLength: 4096, keyType: 'Q8_0' });
  const type: QuantizeType = 'Q4_K_M';
  const smaller: QuantizeResult = await quantizeModel(path, 'smaller.gguf', {
    type,
    threads: 2,
    onProgress: (fraction) => console.log(fraction.toFixed(2)),
    signal,
  });
  console.log(smaller.path, smaller.bytes, smaller.notes.join());
  await using model: Model = await loadModel(path, {
    device: 'auto',
    threads: 4,
    contextLength: 2048,
    onProgress: (fraction, stage) => console.log(fraction.toFixed(2), stage.toUpperCase(), before.total),
    signal,
  });
  const info: ModelInfo = model.info;
  const types: string[] = Object.keys(info.quantisation);
  const tokens: Int32Array = model.tokenizer.encode(info.name ?? types.join(), {
    addSpecial: true,
    parseSpecial: false,
  });
  const text: string = model.tokenizer.decode(tokens);

  using session: Session = model.createSession({
    contextLength: 512,
    cache: { keyType: 'q8_0', valueType: 'f16', pageSize: 16 },
    prefixCache: { salt: 'tenant' },
  });
  const options: GenerateOptions = {
    maxTokens: 10,
    temperature: 0,
    topK: 40,
    topP: 0.9,
    minP: 0.05,
    typicalP: 1,
    repetitionPenalty: 1.1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    logitBias: { 5: -Infinity },
    seed: 7n,
    stop: ['\n\n'],
    logprobs: 3,
    signal,
  };
  for await (const piece of session.generate(text, options)) {
    const shown: string = piece.text;
    const ids: readonly number[] = piece.tokens;
    const best: number | undefined = piece.logprobs?.[0].top[0].logprob;
    console.log(shown, ids, best);
  }
  const last: GenerateResult | undefined = session.lastResult;
  const cached: number = (last?.usage.cachedTokens ?? 0) - (last?.usage.sharedTokens ?? 0);

  // By hand, for the iterator's result.
  const iterator = session.generate(tokens, { logitBias: new Map([[1, 2]]), stop: 'x', logprobs: true, seed: 7 });
  let next: IteratorResult<Piece, GenerateResult> = await iterator.next();
  while (!next.done) next = await iterator.next();
  const reason: 'stop' | 'length' | 'abort' = next.value.finishReason;

  const logits: Float32Array = await session.forward(Int32Array.of(1, 2, 3));
  using fork: Session = session.fork();
  fork.rollback(cached);
  await session.save('file');
  const restored: Session = await model.restoreSession('file');
  restored.dispose();

  const chat: Chat = model.createChat({ system: 'Be brief.', messages: [{ role: 'user', content: reason }] });
  for await (const piece of chat.send('Hi', options)) console.log(piece.text, logits.length);
  const error = new VivaceError('CONTEXT_FULL', 'message', { remedy: 'remedy' });
  const code: ErrorCode = error.code;
  console.log(code, error.remedy, model.estimateMemory({ contextLength: 100, keyType: 'f32' }).kv);

  // Drafts: built in ones, from a file, and the caller's own.
  const cache = new SuffixCache({ maxCachedTokens: 1000 });
  const opened: Datastore = await Datastore.open('texts', { fingerprint: tokenizerFingerprint(model.tokenizer) });
  const own: Drafter = {
    name: 'own',
    start({ sampler }): GenerationDrafter {
      const none: Draft = { tokens: new Int32Array(), parents: new Int32Array(), scores: new Float32Array() };
      return { accept: (said) => console.log(said.length, sampler.vocab), draft: () => none, dispose: () => {} };
    },
  };
  const drafters = [nGram({ maxN: 4 }), suffix({ cache }), inputCopy({ input: tokens }), datastore('file'), own];
  const verifier: Verifier = { name: 'typical', epsilon: 0.1 };
  const speculation: SpeculationOptions = {
    drafter: datastore(opened, { maxSpan: 8 }),
    verifier,
    maxDraft: 8,
    maxNodes: 32,
  };
  for await (const piece of session.generate(text, { speculation })) console.log(piece.text, drafters.length);
  const drafts: SpeculationResult | undefined = session.lastResult?.speculation;
  console.log(drafts?.tokensPerRound, drafts?.acceptanceByPosition[0]);

  // @ts-expect-error a drafter by its name
  session.generate(text, { speculation: { drafter: 'ngram' } });
  // @ts-expect-error a verifier that does not exist
  session.generate(text, { speculation: { drafter: own, verifier: 'lossy' } });
  // @ts-expect-error a misspelled option
  session.generate(text, { temprature: 0 });
  // @ts-expect-error a type of cache that does not exist
  model.createSession({ cache: { keyType: 'q4_k' } });
  // @ts-expect-error a device that does not exist
  await loadModel(path, { device: 'gpu' });
  // @ts-expect-error the answer to a question that was not asked
  await session.forward('text');
}
