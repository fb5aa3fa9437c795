// `vivace bench experts --simulate`: what policies of a mixture that does not fit would cost on a machine, and why.
import { Command } from 'commander';
import { VivaceError } from '../../../errors.js';
import { comparePolicies, betterPlacement, type ComparedPolicy } from '../../../experts/simulate/compare.js';
import { fixedCosts } from '../../../experts/simulate/machine.js';
import { policyNames, type PolicyName } from '../../../experts/simulate/policies.js';
import { syntheticTrace } from '../../../experts/simulate/synthetic.js';
import { timelineSvg } from '../../../experts/simulate/timeline.js';
import { traceAccuracy, type RoutingTrace } from '../../../experts/simulate/trace.js';
import { writeFile } from '../../../formats/file.js';
import { addJsonOption, integer } from '../../arguments.js';
import { table } from '../../quantities.js';
import { printJson, say } from '../../terminal.js';
import { parseNumbers } from './numbers.js';
import { figures, lastRun, simulationPage } from './page.js';

interface Options {
  readonly simulate?: boolean;
  readonly costs?: string;
  readonly routing?: string;
  readonly tokens: number;
  readonly slots?: number;
  readonly policies: string;
  readonly html?: string;
  readonly seed: number;
  readonly json?: boolean;
}

/** Of a model of 24 layers with 60 experts on a card whose link moves an expert of 4 bits in 0.24 ms. */
const COSTS = { layer: 1, expert: 0.05, copy: 0.24, low: 0, there: 0.1 };
const ROUTING = { layers: 24, experts: 60, used: 4, zipf: 0.8, reuse: 0.3, accuracy: 0.97 };

export function expertsCommand(): Command {
  const command = new Command('experts')
    .description('simulate a mixture of experts that does not fit: what each policy waits for')
    .option('--simulate', 'compute times from costs instead of measuring them')
    .option('--costs <list>', `milliseconds of each: ${listed(COSTS)} (low: as copy)`)
    .option('--routing <list>', `which experts tokens go to: ${listed(ROUTING)}`)
    .option('--tokens <count>', 'tokens to decode; a third of them only warms caches up', integer(3), 90)
    .option('--slots <count>', 'experts that fit, of all layers together (default: a third)', integer(0))
    .option('--policies <names>', `all, or some with commas between: ${policyNames.join(', ')}`, 'all')
    .option('--html <file>', 'write a page with timelines, too; of a file ending in .svg, the first policy alone')
    .option('--seed <integer>', 'of the routing', integer(0), 1);
  addJsonOption(command);
  return command.action((options: Options) => run(options));
}

const listed = (defaults: Readonly<Record<string, number>>): string =>
  Object.entries(defaults)
    .map(([name, value]) => `${name}=${value}`)
    .join(',');

function run(options: Options): void {
  if (options.simulate !== true) {
    throw new VivaceError('INVALID_ARGUMENT', 'Policies of experts are simulated, not measured, by this command', {
      remedy: 'Add --simulate.',
    });
  }
  const names = namesOf(options.policies);
  const { layer, expert, copy, low, there } = parseNumbers('--costs', options.costs, COSTS);
  const trace = routing(options);
  const layers = trace.steps[0].layers.length;
  const slots = options.slots ?? Math.floor((layers * trace.experts) / 3);
  const compare = {
    costs: fixedCosts(layer / 1000, expert / 1000, copy / 1000, (low || copy) / 1000, there / 1000),
    slots,
    warm: Math.floor(trace.steps.length / 3),
  };
  const rows = comparePolicies(trace, names, { ...compare, record: options.html !== undefined });
  const accuracy = traceAccuracy(trace).map((one) => one.accuracy);
  const auto = betterPlacement(trace, compare);
  if (options.html !== undefined) draw(options.html, rows, describe(options, slots, trace));
  if (options.json === true) {
    return printJson({
      slots,
      experts: layers * trace.experts,
      accuracy,
      auto,
      policies: rows.map(({ simulated: _, ...row }) => row),
    });
  }
  say(describe(options, slots, trace), 'dim');
  process.stdout.write(`${table(figures(rows))}\n\nplacement that is faster for fate here: ${auto}\n`);
}

function routing(options: Options): RoutingTrace {
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

/** Throws INVALID_ARGUMENT. */
function namesOf(list: string): readonly PolicyName[] {
  if (list === 'all') return policyNames;
  return [...new Set(list.split(',').map((name) => name.trim()))].map((name) => {
    const found = policyNames.find((known) => known === name);
    if (found !== undefined) return found;
    throw new VivaceError('INVALID_ARGUMENT', `There is no policy of experts \`${name}\``, {
      remedy: `Use --policies all, or some of ${policyNames.join(', ')} with commas between.`,
    });
  });
}

const describe = ({ costs, routing: given }: Options, slots: number, trace: RoutingTrace): string =>
  `${trace.steps.length} runs, ${trace.used} of ${trace.experts} experts in each of ${trace.steps[0].layers.length} layers, ` +
  `${slots} slots; ${listed(parseNumbers('--costs', costs, COSTS))} ms${given === undefined ? '' : `; ${given}`}`;

function draw(file: string, rows: readonly ComparedPolicy[], title: string): void {
  const page = file.endsWith('.svg') ? timelineSvg(rows[0].simulated, lastRun(rows[0])) : simulationPage(title, rows);
  writeFile(file, [Buffer.from(page)]);
}
