// Renders a template: compiled once, run in a bounded number of steps, failures as errors of the project.
import { expected, VivaceError } from '../../errors.js';
import { Budget, LONGEST_RANGE } from './jinja/budget.js';
import { TemplateFault } from './jinja/fault.js';
import { Interpreter } from './jinja/interpreter.js';
import { str } from './jinja/print.js';
import { parseTemplate, TUPLE, type Node } from './jinja/syntax.js';
import { Callable, fromJavaScript, iterate, Namespace, numberOf, Tuple, type Value } from './jinja/values.js';
import { strftime } from './strftime.js';

export const templateLimits = { bytes: 2 ** 20, steps: 1_000_000 } as const;

const CACHED = 32;
const compiled = new Map<string, Node>();

/** Throws FORMAT_LIMIT for a template over 1 MiB and TEMPLATE_ERROR where it is not Jinja. */
export function compileTemplate(template: string): Node {
  if (typeof template !== 'string') throw expected('a string', 'template', template);
  const known = compiled.get(template);
  if (known) return known;
  if (Buffer.byteLength(template) > templateLimits.bytes) {
    throw new VivaceError('FORMAT_LIMIT', `The chat template is larger than ${templateLimits.bytes} bytes`);
  }
  const program = guarded(() => parseTemplate(template), 'The chat template cannot be read');
  if (compiled.size >= CACHED) compiled.clear();
  compiled.set(template, program);
  return program;
}

/** The variables as they are, without the adaptions of renderChat(). Throws TEMPLATE_ERROR. */
export function renderTemplate(template: string, variables: Readonly<Record<string, unknown>>, now?: Date): string {
  const program = compileTemplate(template);
  return guarded(() => {
    const scope = globals(now);
    for (const [name, value] of Object.entries(variables))
      if (value !== undefined) scope.set(name, fromJavaScript(value));
    return new Interpreter(new Budget(templateLimits.steps)).render(program, scope);
  }, 'The chat template failed');
}

/** Turns what a template throws, and a stack that its nesting overflows, into TEMPLATE_ERROR. */
function guarded<Result>(work: () => Result, what: string): Result {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof VivaceError) throw cause;
    if (cause instanceof TemplateFault && cause.raised) {
      throw new VivaceError('TEMPLATE_ERROR', cause.message, {
        cause,
        remedy: 'The chat template refuses these messages.',
      });
    }
    throw new VivaceError('TEMPLATE_ERROR', `${what}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

function globals(now?: Date): Map<string, Value> {
  const define = (name: string, call: Callable['call']): [string, Value] => [name, new Callable(name, call)];
  return new Map<string, Value>([
    ['true', true],
    ['True', true],
    ['false', false],
    ['False', false],
    ['none', null],
    ['None', null],
    define('raise_exception', ({ positional }) => {
      throw new TemplateFault(str(positional[0] ?? ''), true);
    }),
    define('strftime_now', ({ positional }) => strftime(now ?? new Date(), str(positional[0] ?? ''))),
    define('range', ({ positional }) => range(positional)),
    define('namespace', ({ positional, keyword }) => {
      const space = new Namespace();
      if (positional[0] instanceof Map) for (const [key, value] of positional[0]) space.fields.set(String(key), value);
      for (const [key, value] of keyword) space.fields.set(key, value);
      return space;
    }),
    define('dict', ({ positional, keyword }) => {
      const [first] = positional;
      const pairs = first instanceof Map ? [...first] : iterate(first ?? []).map((pair) => iterate(pair));
      const entries = pairs.map(([key, value]) => [typeof key === 'string' ? key : str(key), value] as const);
      return new Map([...entries, ...keyword]);
    }),
    define(TUPLE, ({ positional }) => new Tuple(positional)),
    define('joiner', ({ positional }) => {
      let used = false;
      return new Callable('joiner', () => {
        const text = used ? (positional[0] ?? ', ') : '';
        used = true;
        return text;
      });
    }),
  ]);
}

function range(args: readonly Value[]): Value[] {
  const bounds = args.map((bound) => {
    if (typeof bound !== 'number') throw new TemplateFault('range() needs integers');
    return numberOf(bound) ?? 0;
  });
  const [start, stop, step] =
    bounds.length === 1 ? [0, bounds[0], 1] : [bounds[0] ?? 0, bounds[1] ?? 0, bounds[2] ?? 1];
  if (step === 0) throw new TemplateFault('range() arg 3 must not be zero');
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (count > LONGEST_RANGE) throw new TemplateFault(`Range too big. The longest is ${LONGEST_RANGE}.`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}
