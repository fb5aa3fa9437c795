// EAGLE-3 heads (Li et al. 2025, arXiv 2503.01840), as their authors and those of `speculators` publish them.
import { VivaceError } from '../../../errors.js';
import { readExactly, withFile } from '../../file.js';
import type { ModelConfig } from '../../model-config.js';
import { readArchitecture, readConfig } from '../config.js';
import { Fields } from '../json.js';
import type { SafetensorsSet } from '../shards.js';
import { canonicalTensors, plainTensor } from '../tensors.js';
import { checkTarget, type DraftHead, type HeadDirectory } from './directory.js';

type Tensors = SafetensorsSet['tensors'];

/** One layer, called `midlayer` by the authors; both have a norm of their own for the feature. */
export const isThird = (tensors: Tensors): boolean =>
  [...tensors.keys()].some((name) => /^(midlayer\.|layers\.0\.hidden_norm\.)/.test(name));

/**
 * `fc.weight` [h, 3 · target's width] over the inputs of three of the target's layers; one layer whose q, k and v read
 * [2h], (embedding, feature), each normalised (`input_layernorm`, `hidden_norm`); `norm`; `lm_head` [draft_vocab_size, h], whose
 * row j is the target's token j + `d2t`[j]. Embedding and output matrix may be missing: they are the target's then. Throws as
 * `openEagleHead`.
 */
export function readThirdHead(
  directory: string,
  { fields: all, set, name }: HeadDirectory,
  target: ModelConfig,
): DraftHead {
  const fields = ownFields(all);
  readArchitecture(fields);
  refuse(directory, all);
  const { files, tensors } = set;
  const named = canonicalTensors(
    [...tensors.values()]
      .filter(({ name: own }) => !/^(fc\.|d2t$|t2d$)|\.hidden_norm\.weight$/.test(own))
      .map((tensor) => ({ ...tensor, name: tensor.name.replace(/^midlayer\./, 'layers.0.') })),
    'llama',
  );
  for (const own of ['fc.weight', 'fc.bias']) {
    const tensor = tensors.get(own);
    if (tensor) named.set(own, plainTensor(tensor, own));
  }
  const norm = [...tensors.values()].find(({ name: own }) => own.endsWith('.hidden_norm.weight'));
  if (norm) named.set('blk.0.hidden_norm.weight', plainTensor(norm, 'blk.0.hidden_norm.weight'));
  const deep = [...named.keys()].find((own) => /^blk\.[1-9]/.test(own));
  if (deep !== undefined) throw new VivaceError('UNSUPPORTED_FEATURE', `${directory}: an EAGLE-3 head has one layer`);
  const tiedEmbedding = !named.has('output.weight') && target.tiedEmbedding;
  const config: ModelConfig = {
    ...readConfig(new Fields({ ...fields.json, num_hidden_layers: 1 }, directory), name, target.vocab, true),
    architecture: 'llama',
    tiedEmbedding,
  };
  const vocab = fields.integer('vocab_size') ?? target.vocab;
  // The head may be of another width, with an embedding of its own.
  checkTarget(directory, { width: all.integer('target_hidden_size') ?? config.width, vocab }, target);
  const third = {
    layers: layersOf(all, target),
    tokens: readTokens(directory, all, set, target.vocab),
    normedResidual: all.boolean('norm_before_residual') ?? false,
  };
  return { files, tensors: named, config, third };
}

/** The layer's settings: nested in what `speculators` writes, whose vocabulary is then the draft's. */
function ownFields(all: Fields): Fields {
  const nested = all.fields('transformer_layer_config');
  return nested
    ? new Fields({ model_type: 'llama', ...nested.json, vocab_size: null }, 'transformer_layer_config')
    : all;
}

function refuse(directory: string, all: Fields): void {
  for (const key of ['norm_before_fc', 'fc_norm', 'norm_output']) {
    if (all.value(key) !== undefined && all.value(key) !== false)
      throw new VivaceError('UNSUPPORTED_FEATURE', `${directory}: heads with \`${key}\` are not supported`);
  }
  if (all.has('eagle_config'))
    throw new VivaceError('UNSUPPORTED_FEATURE', `${directory}: heads with \`eagle_config\` are not supported`, {
      remedy:
        'Runtimes do not agree what its layers mean. Name them in `eagle_aux_hidden_state_layer_ids` of config.json.',
    });
}

/** Those that the authors take, unless config.json names others. */
function layersOf(all: Fields, { layers }: ModelConfig): readonly number[] {
  const given = all.numbers('eagle_aux_hidden_state_layer_ids') ?? [2, Math.floor(layers / 2), layers - 3];
  const wrong = given.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= layers);
  if (wrong === undefined && given.length > 0) return given;
  throw new VivaceError(
    'SHAPE_MISMATCH',
    `The head reads what goes into layer ${wrong}; this model has ${layers} layers`,
    {
      remedy: 'Use a head that was trained for this model.',
    },
  );
}

function readTokens(
  directory: string,
  all: Fields,
  { files, tensors }: SafetensorsSet,
  vocab: number,
): Int32Array | undefined {
  const own = all.integer('draft_vocab_size') ?? vocab;
  const tensor = tensors.get('d2t');
  const invalid = (message: string): VivaceError => new VivaceError('FORMAT_INVALID', `${directory}: ${message}`);
  if (!tensor) {
    if (own === vocab) return undefined;
    throw new VivaceError('MISSING_TENSOR', `${directory}: the tensor \`d2t\` is missing`);
  }
  const wide = tensor.type === 'I64';
  if ((!wide && tensor.type !== 'I32') || tensor.shape.join() !== String(own))
    throw invalid(`\`d2t\` is ${tensor.type} [${tensor.shape.join(', ')}], expected I64 [${own}]`);
  const bytes = new Uint8Array(tensor.bytes);
  withFile(files[tensor.file], (fd) => readExactly(files[tensor.file], fd, bytes, tensor.offset));
  const view = new DataView(bytes.buffer);
  const tokens = Int32Array.from({ length: own }, (_, j) => {
    const token = j + (wide ? Number(view.getBigInt64(8 * j, true)) : view.getInt32(4 * j, true));
    if (token >= 0 && token < vocab) return token;
    throw invalid(`\`d2t\` makes token ${token} of ${j}; there are ${vocab}`);
  });
  if (new Set(tokens).size < own) throw invalid('two tokens of `d2t` are the same one');
  return tokens;
}
