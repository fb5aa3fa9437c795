// One process of speculation.mjs: vivace or node-llama-cpp decodes prompts in several ways in turn, and prints what each took
// as JSON. Prompts are token ids, greedy, a given number of tokens each.
const { peer, target, draft, threads, draftThreads, ways, prompts, turns } = JSON.parse(process.argv[2]);
const contextLength = 1024;
const results = await { vivace, llama }[peer]();
console.log(JSON.stringify(results));
process.exit(0);

/** Times of all prompts together, per way and turn, and the tokens of the last turn. */
async function measure(run) {
  const all = ways.map(({ name }) => ({ name, ms: [], tokens: [] }));
  for (let turn = -1; turn < turns; ++turn) {
    for (const [place, way] of ways.entries()) {
      let ms = 0;
      const said = [];
      for (const { tokens, count } of turn < 0 ? prompts.slice(0, 1) : prompts) {
        const { tokens: answer, ms: took, more } = await run(way, tokens, count);
        ms += took;
        said.push(answer);
        if (more) all[place].more = more;
      }
      if (turn >= 0) all[place].ms.push(ms);
      all[place].tokens = said;
    }
  }
  return all;
}

async function vivace() {
  const library = await import('../../dist/index.mjs');
  const model = await library.loadModel(target, { threads, contextLength, repack: 'load' });
  const small = await library.loadModel(draft, { threads: draftThreads, contextLength, repack: 'load' });
  const drafters = {
    draft: (options) => library.draftModel(small, options),
    nGram: (options) => library.nGram(options),
    inputCopy: (options) => library.inputCopy(options),
  };
  return measure(async ({ kind, options = {}, round = {} }, tokens, count) => {
    const session = model.createSession();
    const drafter = kind === 'plain' ? undefined : drafters[kind](options);
    const begin = performance.now();
    const answer = session.generate(Int32Array.from(tokens), {
      temperature: 0,
      maxTokens: count,
      ...(drafter ? { speculation: { drafter, ...round } } : {}),
    });
    for await (const _ of answer);
    const ms = performance.now() - begin;
    const result = session.lastResult;
    session.dispose();
    return { tokens: [...result.tokens], ms, more: result.speculation?.tokensPerRound };
  });
}

async function llama() {
  const { getLlama, LlamaLogLevel, DraftSequenceTokenPredictor, InputLookupTokenPredictor } =
    await import('node-llama-cpp');
  const instance = await getLlama({ gpu: false, build: 'never', maxThreads: 0, logLevel: LlamaLogLevel.error });
  const load = (modelPath) => instance.loadModel({ modelPath, gpuLayers: 0, useMmap: true });
  const [model, small] = [await load(target), await load(draft)];
  const open = (of, count) =>
    of.createContext({ contextSize: contextLength, batchSize: 512, threads: count, flashAttention: true });
  const drafting = (await open(small, draftThreads)).getSequence();
  const predictors = {
    plain: () => undefined,
    draft: (options) => new DraftSequenceTokenPredictor(drafting, options),
    lookup: (options) => new InputLookupTokenPredictor(options),
  };
  // A predictor belongs to a sequence, and a sequence to a context.
  const sequences = new Map();
  for (const { name, kind, options } of ways) {
    const tokenPredictor = predictors[kind](options);
    sequences.set(name, (await open(model, threads)).getSequence(tokenPredictor ? { tokenPredictor } : {}));
  }
  return measure(async ({ name, kind }, tokens, count) => {
    const sequence = sequences.get(name);
    await sequence.clearHistory();
    await drafting.clearHistory();
    const begin = performance.now();
    if (kind === 'lookup') sequence.tokenPredictor.updateInputTokens(tokens);
    const answer = [];
    for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
      answer.push(token);
      if (answer.length === count) break;
    }
    return { tokens: answer, ms: performance.now() - begin, more: { ...sequence.tokenPredictions } };
  });
}
