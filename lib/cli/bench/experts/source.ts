// What a simulation replays and what things cost in it: drawn, read from a file, or recorded and measured on a model.
import { VivaceError } from '../../../errors.js';
import { fixedCosts, type Costs } from '../../../experts/simulate/machine.js';
import { syntheticTrace } from '../../../experts/simulate/synthetic.js';
import { traceOf, type RoutingTrace } from '../../../experts/simulate/trace.js';
import { readRouting } from '../../../experts/trace.js';
import { openModelFile } from '../../../formats/open.js';
import { loadModel } from '../../../model/load.js';
import { measureProfile } from '../profile.js';
import { expertBytes, measuredCosts } from './measured.js';
import { listed, parseNumbers } from './numbers.js';

/** Of a model of 24 layers with 60 experts on a card whose link moves an expert of 4 bits in 0.24 ms. */
export const COSTS = { layer: 1, expert: 0.05, copy: 0.24, low: 0, there: 0.1 };
export const ROUTING = { layers: 24, experts: 60, used: 4, zipf: 0.8, reuse: 0.3, accuracy: 0.97 };
/** Of a link, where nothing is said of it: bytes a second. */
const RATE = 1e9;

export interface SourceOptions {
  readonly costs?: string;
  readonly routing?: string;
  readonly trace?: string;
  readonly text?: string;
  readonly tokens: number;
  readonly seed: number;
  readonly expertRate?: number;
  readonly threads: number;
}

export interface Source {
  readonly trace: RoutingTrace;
  readonly costs: Costs;
  readonly title: string;
}

/** Throws INVALID_ARGUMENT, and what reading files and models throws. */
export async function simulationSource(model: string | undefined, options: SourceOptions): Promise<Source> {
  if (model !== undefined) return ofModel(model, options);
  const given = parseNumbers('--costs', options.costs, COSTS);
  const { layer, expert, copy, low, there } = given;
  const costs = fixedCosts(layer / 1000, expert / 1000, copy / 1000, (low || copy) / 1000, there / 1000);
  const title = `${listed(given)} ms`;
  if (options.trace === undefined) return { trace: drawn(options), costs, title };
  return { trace: checked(traceOf(readRouting(options.trace)), options.trace), costs, title };
}

/** Records what the model's routers choose while it says `tokens` tokens, and measures its layers. */
async function ofModel(path: string, options: SourceOptions): Promise<Source> {
  const source = openModelFile(path);
  const { tokens, threads, text = 'Once upon a time' } = options;
  const model = await loadModel(path, {
    device: 'cpu',
    threads,
    repack: 'never',
    prefixCache: false,
    experts: { trace: true },
  });
  try {
    using session = model.createSession();
    const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
    for await (const _ of session.generate(text, { maxTokens: tokens, temperature: 0, logitBias }));
    const recorded = checked(traceOf(model.experts.routing()), path);
    const trace = options.trace === undefined ? recorded : checked(traceOf(readRouting(options.trace)), options.trace);
    const prompt = Math.min(128, model.info.contextLength >> 1);
    const generate = Math.min(32, model.info.contextLength >> 2);
    const profile = await measureProfile(model, { prompt, generate, repeat: 3, threads });
    const rate = options.expertRate ?? RATE;
    const copySeconds = expertBytes(source) / rate;
    const shape = { layers: trace.steps[0].layers.length, used: trace.used, copySeconds };
    const title = `${model.info.name ?? path}, measured on ${threads} threads; ${rate / 1e6} MB/s`;
    return { trace, costs: measuredCosts(profile, shape), title };
  } finally {
    model.dispose();
  }
}

function checked(trace: RoutingTrace, name: string): RoutingTrace {
  if (trace.steps.length >= 3) return trace;
  throw new VivaceError('INVALID_ARGUMENT', `${name}: ${trace.steps.length} runs are too few to simulate`, {
    remedy: 'Record more of a text.',
  });
}

function drawn(options: SourceOptions): RoutingTrace {
  const shape = parseNumbers('--routing', options.routing, ROUTING);
  const { layers, experts, used, accuracy, reuse, zipf } = shape;
  const whole = [layers, experts, used].every((value) => Number.isInteger(value) && value > 0);
  if (!whole || 2 * used + 1 > experts || layers > 1000 || experts > 4096) {
    throw new VivaceError('INVALID_ARGUMENT', `There is no routing with ${listed(shape)}`, {
      remedy: 'layers, experts and used are integers, and there are more than twice as many experts as a token uses.',
    });
  }
  if (![accuracy, reuse].every((value) => value >= 0 && value <= 1) || zipf < 0) {
    throw new VivaceError('INVALID_ARGUMENT', `There is no routing with ${listed(shape)}`, {
      remedy: 'accuracy and reuse are between 0 and 1, zipf is not negative.',
    });
  }
  return syntheticTrace({ ...shape, tokens: options.tokens, seed: options.seed });
}
