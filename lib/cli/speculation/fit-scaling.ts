// `vivace fit-scaling`: how acceptance grows with a drafter's training and size, from measured drafters.
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import {
  fitLaw,
  predictLaw,
  variedIn,
  type FittedLaw,
  type LawName,
  type Measurement,
} from '../../decode/speculation/scaling/laws.js';
import { VivaceError } from '../../errors.js';
import { addJsonOption } from '../arguments.js';
import { amount, table } from '../quantities.js';
import { printJson } from '../terminal.js';

type At = Partial<Record<'tokens' | 'parameters', number>>;

interface Options {
  readonly law?: LawName;
  readonly predict?: readonly At[];
  readonly most?: number;
  readonly force?: boolean;
  readonly json?: boolean;
}

export function fitScalingCommand(): Command {
  const command = new Command('fit-scaling')
    .description('fit laws of how much a drafter accepts to measured drafters, and predict larger ones')
    .argument(
      '<measurements>',
      'JSON array, or an object per line, of {tokens?, parameters?, accepted, groups?, setting?}; see docs/systems/scaling-laws.md',
    )
    .addOption(
      new Option('--law <name>', 'data, capacity or joint (default: what was varied)').choices([
        'data',
        'capacity',
        'joint',
      ]),
    )
    .addOption(
      new Option(
        '--predict <place>',
        'tokens=1e9,parameters=4e8: what such a drafter would accept; repeatable',
      ).argParser(place),
    )
    .addOption(
      new Option('--most <tokens>', 'what a round can give at most: predictions end there').argParser(positive),
    )
    .option('--force', 'predict more than a decade beyond what was measured');
  return addJsonOption(command).action((path: string, options: Options) => {
    const measurements = read(path);
    const law = fitLaw(options.law ?? variedIn(measurements), measurements);
    const { most, force = false } = options;
    const predictions = (options.predict ?? []).map((at) => ({
      at,
      ...predictLaw(law, at, { force, ...(most === undefined ? {} : { most }) }),
    }));
    if (options.json === true) {
      const { fit: _, ...plain } = law;
      printJson({ ...plain, predictions });
      return;
    }
    process.stdout.write(`${describeLaw(law)}\n`);
    if (predictions.length > 0) {
      const rows = predictions.map(({ at, value, low, high }) => [
        Object.entries(at)
          .map(([name, count]) => `${amount(count)} ${name}`)
          .join(', '),
        amount(value),
        `${amount(low)} to ${amount(high)}`,
      ]);
      process.stdout.write(`\n${table([['drafter', 'accepts', '95 % of measurements'], ...rows])}\n`);
    }
  });
}

export function describeLaw(law: FittedLaw): string {
  const { terms, coefficients, standardErrors, r2, count, leaveOneOut, saturation, warnings, weighted } = law;
  const rows = terms.map((term, i) => [term, amount(coefficients[i]), amount(standardErrors[i])]);
  return [
    table([['term', 'coefficient', 'standard error'], ...rows]),
    '',
    `${count} measurements${weighted ? ', weighted by their groups' : ''}, R² ${r2.toFixed(4)}, ` +
      `a measurement left out is missed by ${amount(leaveOneOut)}`,
    ...(saturation?.wins
      ? [`towards a limit: ${amount(saturation.limit)} − ${amount(saturation.k)} · x^−${amount(saturation.beta)}`]
      : []),
    ...warnings.map((warning) => `warning: ${warning}`),
  ].join('\n');
}

function read(path: string): readonly Measurement[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new VivaceError('FILE_NOT_FOUND', `The measurements \`${path}\` cannot be read`, {
      cause,
      remedy: 'Give a file of JSON.',
    });
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const parsed = text.trimStart().startsWith('[')
    ? parse(text, path)
    : lines.map((line, index) => parse(line, `${path}, line ${index + 1},`));
  if (Array.isArray(parsed) && parsed.every((one) => typeof one === 'object' && one !== null)) {
    return parsed as readonly Measurement[];
  }
  throw new VivaceError('INVALID_ARGUMENT', `\`${path}\` holds no measurements`, {
    remedy: 'Each is an object with `accepted` and `tokens` or `parameters`.',
  });
}

function parse(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new VivaceError('INVALID_ARGUMENT', `${place} is no JSON: ${(cause as Error).message}`, { cause });
  }
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a positive number.');
  return value;
}

function place(text: string, previous: readonly At[] | undefined): readonly At[] {
  const at = Object.fromEntries(
    text.split(',').map((part) => {
      const [, name, value] = /^(tokens|parameters)=(.+)$/.exec(part.trim()) ?? [];
      if (name === undefined) throw new InvalidArgumentError('Expected tokens=…, parameters=…, or both.');
      return [name, positive(value)];
    }),
  );
  return [...(previous ?? []), at];
}
