// Tells models apart: saved sessions belong to the model that made them, whatever its file is called.
import type * as crypto from 'node:crypto';
import { readExactly, withFile } from '../formats/file.js';
import type { ModelSource, TensorSource } from '../formats/model-source.js';

const SAMPLE_BYTES = 64;

/**
 * A hash of the configuration, the tensor table and a few bytes from the middle of every tensor, so that fine-tunes of one
 * model differ. Reads a page per tensor: some milliseconds.
 */
export function fingerprint(source: Pick<ModelSource, 'files' | 'config' | 'tensors'>): string {
  const { createHash } = require('node:crypto') as typeof crypto; // takes 3 ms to load
  const hash = createHash('sha256');
  hash.update(JSON.stringify(source.config));
  const tensors = [...source.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, dtype, shape, bytes } of tensors) hash.update(JSON.stringify([name, dtype, shape, bytes]));
  source.files.forEach((path, index) => {
    const own = tensors.filter(({ file }) => file === index);
    withFile(path, (fd) => own.forEach((tensor) => hash.update(sample(path, fd, tensor))));
  });
  return hash.digest('hex');
}

function sample(path: string, fd: number, { offset, bytes }: TensorSource): Uint8Array {
  const target = new Uint8Array(Math.min(SAMPLE_BYTES, bytes));
  readExactly(path, fd, target, offset + Math.floor((bytes - target.length) / 2));
  return target;
}
