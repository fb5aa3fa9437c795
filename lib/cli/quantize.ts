// `vivace quantize in out --type …`: writes a model with weights of fewer bits.
import { Command, Option } from 'commander';
import { quantizeModel, type QuantizeOptions } from '../quantize/quantize.js';
import { quantizeTypes, type QuantizeType } from '../quantize/types.js';
import { addJsonOption, integer } from './arguments.js';
import { interruptible } from './opened.js';
import { bytes } from './quantities.js';
import { printJson, progress, say } from './terminal.js';

interface Options {
  readonly type: QuantizeType;
  readonly threads?: number;
  readonly json?: boolean;
}

export function quantizeCommand(): Command {
  const command = new Command('quantize')
    .description('write a model with weights of fewer bits: a GGUF file, or a safetensors directory (W4A16, W8A8)')
    .argument('<input>', 'GGUF file or Hugging Face directory')
    .argument('<output>', 'GGUF file, or a new directory')
    .addOption(new Option('--type <name>', 'type of the weights').choices(quantizeTypes).makeOptionMandatory())
    .addOption(new Option('--threads <count>', 'threads to compute with (default: all)').argParser(integer(1)));
  return addJsonOption(command).action(async (input: string, output: string, { type, threads, json }: Options) => {
    const begin = performance.now();
    const bar = progress(`quantising to ${type}`, json);
    const { signal, done } = interruptible();
    const options: QuantizeOptions = { type, signal, onProgress: (fraction) => bar.update(fraction) };
    try {
      const result = await quantizeModel(input, output, threads === undefined ? options : { ...options, threads });
      bar.end();
      const seconds = (performance.now() - begin) / 1000;
      if (json === true) printJson({ ...result, seconds });
      for (const note of result.notes) say(`note: ${note}`, 'yellow');
      say(`${result.path}: ${bytes(result.bytes)} of weights in ${seconds.toFixed(1)} s`);
    } finally {
      bar.end();
      done();
    }
  });
}
