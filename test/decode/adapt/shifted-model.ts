// The embedded model with some of its words exchanged: a target that its drafters were not made for.
import { readFileSync, writeFileSync } from 'node:fs';
import { embeddedModelPath, loadModel, openModelFile } from '../../../lib/index.js';

/** Words that are swapped, pair by pair: 31 % of what the model says in stories. */
const words = [
  '.',
  ' a',
  ' the',
  ',',
  ' and',
  '"',
  ' was',
  ' had',
  ' he',
  ' to',
  ' not',
  ' "',
  ' said',
  ',"',
  ' in',
  ' He',
];

/** Writes the model with the rows of its output matrix exchanged. */
export async function writeShiftedModel(path: string): Promise<void> {
  const source = embeddedModelPath();
  const model = await loadModel(source, { threads: 1 });
  const ids = words.map((word) => model.tokenizer.encode(word, { addSpecial: false })[0]);
  model.dispose();
  const output = openModelFile(source).tensors.get('output.weight');
  if (!output) throw new Error('The embedded model has no output matrix of its own');
  const bytes = readFileSync(source);
  const size = output.bytes / output.shape[0];
  for (let i = 0; i + 1 < ids.length; i += 2) {
    const [one, other] = [ids[i], ids[i + 1]].map((id) => bytes.subarray(output.offset + id * size).subarray(0, size));
    const kept = Buffer.from(one);
    one.set(other);
    other.set(kept);
  }
  writeFileSync(path, bytes);
}
