// A user's mistake is one clear line on standard error and exit code 1; help and version are exit code 0.
import { generateOptionNames } from '../../lib/decode/options.js';
import { embedded, vivace } from './command.js';

const mistakes: [name: string, args: string[], message: RegExp][] = [
  ['a missing file', ['inspect', 'nothing.gguf'], /nothing\.gguf/],
  ['a missing model to run', ['run', 'nothing.gguf', 'Hello'], /nothing\.gguf/],
  ['a file that is no model', ['inspect', 'package.json'], /package\.json/],
  ['two prompts', ['run', 'Hello', '-p', 'Goodbye'], /Two prompts/],
  ['no model among two arguments', ['run', 'Hello', 'there'], /no model file or directory `Hello`/],
  ['an unknown command', ['rum'], /unknown command 'rum'/],
  ['an unknown option', ['run', '--temprature', '1'], /--temprature.*--temperature/],
  ['no number where one is needed', ['run', '-n', 'many'], /integer of at least 1/],
  ['a number out of its range', ['run', '--top-p', '3', '-n', '1'], /topP.*3/],
  ['zero threads', ['run', '--threads', '0'], /integer of at least 1/],
  ['an unknown device', ['run', '--device', 'toaster'], /device.*toaster/],
  ['a missing argument', ['tokenize'], /missing required argument 'model'/],
  ['too long a benchmark', ['bench', embedded, '--prompt', '100000'], /exceed the context/],
  ['a bias that is none', ['run', '--logit-bias', 'five'], /token=bias/],
  ['neither model nor devices to inspect', ['inspect'], /Expected a model, or --devices without one/],
  [
    'an unknown cache policy',
    ['run', '--cache', 'tiny'],
    /one of full, window, lm-infinite.* for `--cache`, received "tiny"/,
  ],
  ['an option of no cache', ['run', '--cache', 'window', '--cache-options', 'sink=4'], /`sink`.*Did you mean `sinks`/],
  ['a profile under a cache policy', ['bench', '--cache', 'window', '--profile'], /--profile measures the full cache/],
  ['an argument too many', ['inspect', embedded, embedded], /too many arguments/],
];

test.each(mistakes)('%s', async (_, args, message) => {
  const { code, stdout, stderr } = await vivace(args);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr).toMatch(/^error: .*[.)?!]\n$/);
  expect(stdout).toBe('');
  expect(code).toBe(1);
});

test('with --json the mistake is also an object on standard output', async () => {
  const { code, stdout, stderr } = await vivace(['inspect', 'nothing.gguf', '--json']);
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    error: { code: 'FILE_NOT_FOUND', message: expect.stringContaining('nothing.gguf') },
  });
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test.each(['run', 'chat', 'inspect', 'tokenize', 'bench'])('%s --help says what it does', async (command) => {
  const { code, stdout } = await vivace([command, '--help']);
  expect(code).toBe(0);
  expect(stdout).toContain(`Usage: vivace ${command}`);
  expect(stdout).toContain('--json');
});

test('every option of a generation is on the command line', async () => {
  const { stdout } = await vivace(['run', '--help']);
  // Speculation has options of its own: drafter, verifier and sizes.
  const names = generateOptionNames.flatMap((name) =>
    name === 'speculation'
      ? ['drafter', 'datastore', 'draftModel', 'exactness', 'verifier', 'maxDraft', 'maxNodes']
      : [name === 'prefixCache' ? 'noPrefixCache' : name],
  );
  // Signals and constraints are code.
  for (const name of names.filter((option) => option !== 'signal' && option !== 'constraint')) {
    expect(stdout).toContain(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
  }
});
