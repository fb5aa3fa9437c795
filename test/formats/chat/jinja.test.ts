// Jinja: every expression prints what Python's jinja2 prints, and no template can take the process with it.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { renderTemplate, templateLimits } from '../../../lib/formats/chat/chat-template.js';
import { cpuSeconds } from '../tokenizer/toys.js';

interface Table {
  context: Record<string, unknown>;
  /** Template and output; null: it must fail. */
  cases: [template: string, output: string | null][];
}

const file = path.join(__dirname, '../../fixtures/jinja-cases.json');
const table = JSON.parse(fs.readFileSync(file, 'utf8')) as Table;

function render(template: string): string | null {
  try {
    return renderTemplate(template, table.context);
  } catch {
    return null;
  }
}

test('the table has its size', () => expect(table.cases.length).toBeGreaterThan(350));

test.each(table.cases)('%j → %j', (template, output) => expect(render(template)).toBe(output));

const PYTHON = `
import copy, json, sys
import jinja2, jinja2.ext
table = json.load(open(sys.argv[1], encoding='utf8'))
env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
def fail(message): raise jinja2.exceptions.TemplateError(message)
env.filters['tojson'] = tojson
env.globals['raise_exception'] = fail
out = []
for template, _ in table['cases']:
    try: out.append(env.from_string(template).render(**copy.deepcopy(table['context'])))
    except Exception: out.append(None)
print(json.dumps(out))
`;

test('the table is what Python prints', () => {
  const python = spawnSync('python3', ['-c', PYTHON, file], { encoding: 'utf8' });
  if (python.status !== 0) {
    console.log('skipped: python3 with jinja2 is not here');
    return;
  }
  expect(JSON.parse(python.stdout)).toEqual(table.cases.map(([, output]) => output));
});

describe('hostile templates fail in time', () => {
  const repeat = (text: string, times: number): string => text.repeat(times);
  test.each([
    ['a long range', '{% for i in range(10**9) %}x{% endfor %}'],
    ['nested loops', '{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}'],
    [
      'doubled text',
      '{% set n = namespace(x="ab") %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}',
    ],
    ['doubled list', '{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}'],
    ['repeated text', '{{ "a" * 10**9 }}'],
    ['repeated list', '{{ [0] * 10**9 }}'],
    ['endless recursion', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
    ['deep brackets', `{{ ${repeat('[', 100_000)} }}`],
    ['deep blocks', repeat('{% if 1 %}', 50_000)],
    ['unclosed brackets', repeat('{{ (1,', 30_000)],
    ['white space', repeat(' ', 900_000)],
    [
      'filters on filters',
      '{% for i in range(99999) %}{{ "abc" | upper | lower | title | trim }}{% endfor %}{{ 1 / 0 }}',
    ],
  ])('%s', (_, template) => {
    const code = 'TEMPLATE_ERROR';
    const work = (): void => expect(() => renderTemplate(template, {})).toThrow(expect.objectContaining({ code }));
    expect(cpuSeconds(work)).toBeLessThan(5);
  });

  test('a template over the limit', () => {
    const code = 'FORMAT_LIMIT';
    expect(() => renderTemplate(repeat('x', templateLimits.bytes + 1), {})).toThrow(expect.objectContaining({ code }));
  });
});

test('raise_exception() gives the message as it is', () => {
  const failure = { code: 'TEMPLATE_ERROR', message: 'Roles must alternate' };
  expect(() => renderTemplate("{{ raise_exception('Roles must alternate') }}", {})).toThrow(
    expect.objectContaining(failure),
  );
});

test('strftime_now() writes dates as Python does', () => {
  const now = new Date(2024, 6, 5, 9, 3, 7);
  const render = (format: string): string => renderTemplate(`{{ strftime_now('${format}') }}`, {}, now);
  expect(render('%d %b %Y')).toBe('05 Jul 2024');
  expect(render('%B %-d, %Y %H:%M:%S %p %%')).toBe('July 5, 2024 09:03:07 AM %');
  expect(render('%A %a %j %y %I')).toBe('Friday Fri 187 24 09');
});

test('a `generation` block leaves its text', () => {
  expect(renderTemplate('a{% generation %}b{% endgeneration %}c', {})).toBe('abc');
});
