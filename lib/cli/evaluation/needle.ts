// `vivace evaluate needle`: is a value found that stands somewhere in a long text? By length and depth, as a table and a picture.
import { Command, InvalidArgumentError } from 'commander';
import { VivaceError } from '../../errors.js';
import { readText, writeFile } from '../../formats/file.js';
import { evaluateNeedle, type NeedleReport } from '../../model/evaluation/needle.js';
import { integer, sessionOptions } from '../arguments.js';
import { title } from '../opened.js';
import { percent, table } from '../quantities.js';
import { addReadingOptions, read, type ReadingFlags } from './reading.js';
import { needlePage, needlePicture } from './picture.js';

interface Options extends ReadingFlags {
  readonly lengths?: readonly number[];
  readonly depths?: readonly number[];
  readonly cases?: number;
  readonly pairs?: number;
  readonly text?: string;
  readonly question?: string;
  readonly seed?: number;
  readonly picture?: string;
}

export function needleCommand(): Command {
  const command = new Command('needle')
    .description('find values that stand in long texts: how many answers are right, by length and depth')
    .argument('[model]', 'GGUF file or Hugging Face directory (default: the embedded model)')
    .option('--lengths <list>', "tokens, with commas (default: to the model's context in four steps)", integers)
    .option('--depths <list>', 'from 0, the beginning, to 1, with commas (default: in five steps)', shares)
    .option('--cases <count>', 'questions for each length and depth (default: 5)', integer(1))
    .option('--pairs <count>', 'keys with values in the text; one is asked for (default: 21)', integer(2))
    .option('--text <file>', 'a text whose words lie between them (default: words drawn at random)')
    .option('--question <text>', 'behind the text, {key} for the key asked for (default: {key}→v?; {key}→)')
    .option('--seed <integer>', 'the same seed makes the same texts (default: 1)', integer(0))
    .option('--picture <file>', 'write lengths and depths as a picture: a file that ends in .svg or .html')
    .option('--no-prefix-cache', 'compute every prompt whole, also where two begin alike');
  addReadingOptions(command);
  return command.action(async (path: string | undefined, options: Options) => {
    const { lengths, depths, cases, pairs, text: file, question, seed, picture } = options;
    if (picture !== undefined && !/\.(svg|html)$/.test(picture)) {
      throw new VivaceError('INVALID_ARGUMENT', `Expected a file that ends in .svg or .html, not ${picture}`);
    }
    const text = file === undefined ? undefined : readText(file);
    const settings = { lengths, depths, cases, pairs, text, question, seed, session: sessionOptions(options) };
    await read(path, options, {
      doing: 'asking',
      measure: (model, how) => evaluateNeedle({ model, ...settings, ...how }),
      table: needleTable,
      then: (opened, report) => {
        if (picture === undefined) return;
        const draw = picture.endsWith('.svg') ? needlePicture : needlePage;
        writeFile(picture, [Buffer.from(draw(title(opened), report))]);
      },
    });
  });
}

/** A line per length, a column per depth. */
function needleTable({ lengths, depths, cells, right, pairs }: NeedleReport): string {
  const cell = (length: number, depth: number): string => {
    const found = cells.find((one) => one.length === length && one.depth === depth);
    return found ? percent(found.right) : '–';
  };
  const rows = lengths.map((length) => [String(length), ...depths.map((depth) => cell(length, depth))]);
  const heads = ['tokens', ...depths.map((depth) => `depth ${percent(depth)}`)];
  return `Right answers, one of ${pairs} values asked for:\n${table([heads, ...rows])}\nall: ${percent(right)}`;
}

const integers = (text: string): number[] => text.split(',').map((part) => integer(1)(part.trim()));

const shares = (text: string): number[] =>
  text.split(',').map((part) => {
    const value = part.trim() === '' ? NaN : Number(part);
    if (value >= 0 && value <= 1) return value;
    throw new InvalidArgumentError('Expected numbers from 0 to 1.');
  });
