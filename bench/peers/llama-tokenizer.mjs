// llama.cpp's tokenizer through node-llama-cpp, for bench/tokenize.ts.
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

/** Opens the vocabulary of a GGUF file; `loadMs` is the processor time that took. */
export async function openTokenizer(path) {
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: LlamaLogLevel.disabled });
  const start = process.cpuUsage();
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0, useMmap: true, vocabOnly: true });
  const { user, system } = process.cpuUsage(start);
  const loadMs = (user + system) / 1000;
  return {
    loadMs,
    encode: (text) => model.tokenize(text, false),
    decode: (tokens) => model.detokenize(tokens),
    close: () => model.dispose(),
  };
}
