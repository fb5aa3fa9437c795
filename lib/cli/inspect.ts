// `vivace inspect model`: what is in a model file, and how much memory it will take. Reads headers only.
// `vivace inspect --devices`: what this machine can run models on.
import { statSync } from 'node:fs';
import { Command } from 'commander';
import { VivaceError } from '../errors.js';
import { openModelFile } from '../formats/open.js';
import type { ModelSource } from '../formats/model-source.js';
import { loadModel, type Device } from '../model/load.js';
import { activeParameters, estimateMemory, type MemoryEstimate } from '../models/memory.js';
import { planExperts, type ExpertPlan } from '../experts/plan.js';
import { addJsonOption, expertOptions, type ModelOptions } from './arguments.js';
import { planLine } from './bench/experts.js';
import { showDevices } from './devices.js';
import { bytes, count, table } from './quantities.js';
import { printJson, style } from './terminal.js';

export function inspectCommand(): Command {
  const command = new Command('inspect')
    .description('show what is in a model file: configuration, metadata, tensors, memory it will take')
    .argument('[model]', 'GGUF file or Hugging Face directory')
    .option(
      '--device <name>',
      'where it is to run, for the memory that it will take: cpu (default), cuda or cuda-emulated',
    )
    .option('--devices', 'show what this machine can run models on, and why not on the rest')
    .option('--expert-memory <size>', 'show how so much memory would be spent on experts')
    .option('--expert-policy <name>', 'by which policy');
  return addJsonOption(command).action(async (path: string | undefined, options: InspectOptions) => {
    if ((path === undefined) !== (options.devices === true)) {
      throw new VivaceError('INVALID_ARGUMENT', 'Expected a model, or --devices without one', {
        remedy: 'Write `vivace inspect model.gguf` or `vivace inspect --devices`.',
      });
    }
    if (path === undefined) return showDevices(options.json === true);
    const source = openModelFile(path);
    const plan = planExperts(source, expertOptions(options));
    const all = facts(source, await memoryOf(path, source, plan, options.device));
    if (options.json === true) return printJson({ ...all, ...(plan ? { experts: plan } : {}) });
    print(source, all);
    if (plan) process.stdout.write(`${planLine(plan)}\n`);
  });
}

type Memory = MemoryEstimate & { readonly contextLength: number };

/** What contexts take: on a card as it plans the model, before anything is moved there. */
async function memoryOf(
  path: string,
  source: ModelSource,
  plan: ExpertPlan | undefined,
  device = 'cpu',
): Promise<Memory[]> {
  const stored = plan && !plan.resident ? { expertBytes: plan.bytes } : {};
  const lengths = contexts(source.config.contextLength);
  if (!device.startsWith('cuda')) {
    return lengths.map((contextLength) => ({
      contextLength,
      ...estimateMemory(source, { contextLength, ...stored }),
    }));
  }
  using model = await loadModel(path, { device: device as Device, repack: 'never' });
  return lengths.map((contextLength) => ({ contextLength, ...model.estimateMemory({ contextLength }) }));
}

interface InspectOptions extends ModelOptions {
  readonly devices?: boolean;
  readonly json?: boolean;
}

const parametersOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

function types(source: ModelSource): Record<string, { tensors: number; parameters: number; bytes: number }> {
  const result: Record<string, { tensors: number; parameters: number; bytes: number }> = {};
  for (const tensor of source.tensors.values()) {
    const row = (result[tensor.dtype] ??= { tensors: 0, parameters: 0, bytes: 0 });
    row.tensors += 1;
    row.parameters += parametersOf(tensor.shape);
    row.bytes += tensor.bytes;
  }
  return result;
}

/** Powers of four below the model's own context length, and that. */
function contexts(longest: number): number[] {
  const lengths = [];
  for (let length = 512; length < longest; length *= 4) lengths.push(length);
  return [...lengths, longest];
}

function facts(source: ModelSource, memory: readonly Memory[]) {
  const tensors = [...source.tensors.values()];
  return {
    format: source.format,
    files: source.files,
    fileBytes: source.files.reduce((sum, file) => sum + statSync(file).size, 0),
    architecture: source.config.architecture,
    ...(source.config.name === undefined ? {} : { name: source.config.name }),
    parameters: tensors.reduce((sum, { shape }) => sum + parametersOf(shape), 0),
    activeParameters: activeParameters(source),
    config: source.config,
    metadata: Object.fromEntries(source.metadata),
    types: types(source),
    tensors: tensors.map(({ name, dtype, shape, bytes: size }) => ({ name, dtype, shape, bytes: size })),
    chatTemplates: Object.keys(source.chatTemplates),
    memory,
  };
}

function expertRows({ experts, layers }: ModelSource['config']): string[][] {
  if (!experts) return [];
  const { count: all, used, hidden, sharedHidden, sparse } = experts;
  const routed = sparse.filter(Boolean).length;
  const where = routed === layers ? 'in every layer' : `in ${routed} of ${layers} layers`;
  const shared = sharedHidden === 0 ? '' : `, a shared one of ${sharedHidden}`;
  return [['experts', `${all} of feed-forward ${hidden}${shared}, ${used} of a token, ${where}`]];
}

function print({ config }: ModelSource, all: ReturnType<typeof facts>): void {
  const section = (title: string, body: string): void => {
    process.stdout.write(`${style(process.stdout, 'bold', title)}\n${body.replace(/^/gm, '  ')}\n\n`);
  };
  section(
    all.name ?? all.architecture,
    table([
      [
        'format',
        `${all.format}, ${all.files.length === 1 ? 'one file' : `${all.files.length} files`}, ${bytes(all.fileBytes)}`,
      ],
      ['architecture', all.architecture],
      ['parameters', count(all.parameters) + (config.experts ? `, ${count(all.activeParameters)} of a token` : '')],
      ['layers', `${config.layers} of width ${config.width}, feed-forward ${config.hidden}`],
      ...expertRows(config),
      ['attention', `${config.heads} heads of ${config.headDim}, ${config.kvHeads} for keys and values`],
      ['vocabulary', `${config.vocab} tokens`],
      ['context', `${config.contextLength} tokens`],
      ['chat templates', all.chatTemplates.join(', ') || 'none'],
    ]),
  );
  section('Metadata', table(Object.entries(all.metadata).map(([key, value]) => [key, printable(value)])));
  section(
    'Tensor types',
    table([
      ['type', 'tensors', 'parameters', 'size'],
      ...Object.entries(all.types).map(([name, row]) => [
        name,
        String(row.tensors),
        count(row.parameters),
        bytes(row.bytes),
      ]),
    ]),
  );
  section(
    'Tensors',
    table(
      all.tensors.map(({ name, dtype, shape, bytes: size }) => [name, dtype, `[${shape.join(', ')}]`, bytes(size)]),
    ),
  );
  section(
    'Memory',
    table([
      ['context', 'weights', 'cache', 'activations', 'total'],
      ...all.memory.map((row) => [
        String(row.contextLength),
        bytes(row.mapped + row.weights),
        bytes(row.kv),
        bytes(row.activations),
        bytes(row.total),
      ]),
    ]),
  );
}

function printable(value: unknown): string {
  // Files keep numbers in 32 bits: seven digits are all there are.
  if (typeof value === 'number') return String(Number(value.toPrecision(7)));
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const line = text.replace(/\s*\n\s*/g, ' ⏎ ');
  return line.length > 100 ? `${line.slice(0, 99)}…` : line;
}
