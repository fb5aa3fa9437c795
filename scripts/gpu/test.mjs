// `npm run test:gpu [-- folder …]`: builds what is missing and runs all tests that concern devices on this machine's card. Then
// a few of them under compute-sanitizer, where it is installed. The last line is `N passed, N failed`. With
// `--emulated` the same goes to emulation, so that this script can be tested. Needs Node.js and node_modules, no npm, no network.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, giveUp, hasProgram, library, requireCard, root } from './card.mjs';

const { values, positionals } = parseArgs({
  options: { emulated: { type: 'boolean', default: false } },
  allowPositionals: true,
});
// Whole folders, or single files of folders where most is about something else.
const everything = [
  'test/cuda/',
  'test/ops/',
  'test/program/(?!device-probe)',
  'test/session/',
  'test/models/(device|agreement|experts-on-card)',
  'test/decode/lossy/(reflective|runs|judge-sessions)',
  'test/decode/speculation/(going-on|lookahead|cross-vocabulary/generations)',
];
// Programs of kernels alone: with a whole Node.js process compute-sanitizer takes hours.
const sanitized = ['test/cuda/(emulation|decode)'];
// Products, attention, cache policies, experts and loading: their benches at tiny sizes launch those kernels.
const benches = 'linear,attention,policies,experts,load';
const tools = ['memcheck', 'racecheck', 'synccheck'];

const env = { ...process.env, VIVACE_TEST_DEVICE: 'cuda' };
if (values.emulated) {
  delete env.VIVACE_TEST_DEVICE;
} else {
  const { name, capability } = requireCard();
  build(capability);
  console.log(`${name}, compute capability ${capability}; ${library}`);
}
const folder = mkdtempSync(join(tmpdir(), 'vivace-gpu-'));
let passed = 0;
let failed = 0;
jest('on the card', positionals.length > 0 ? positionals : everything, env);
if (!values.emulated && positionals.length === 0) {
  if (hasProgram('compute-sanitizer') && hasProgram('nvcc')) {
    const commands = tools.map((tool) => ['compute-sanitizer', '--tool', tool, '--error-exitcode', '99']);
    for (const [place, runner] of commands.entries())
      jest(`under ${tools[place]}`, sanitized, { ...env, VIVACE_TEST_RUNNER: JSON.stringify(runner) });
    const under = commands.flatMap((words) => ['--under', words.join(' ')]);
    const bench = [join(root, 'scripts', 'gpu', 'bench.mjs'), '--only', benches, ...under];
    const { status } = spawnSync(process.execPath, bench, { cwd: root, stdio: 'inherit' });
    if (status === 0) passed += 1;
    else failed += 1;
  } else {
    console.log('Not under compute-sanitizer: it or nvcc is not on the PATH.');
  }
}
rmSync(folder, { recursive: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);

/** Runs tests whose path has one of the patterns, and counts; a file that cannot run is a failure. */
function jest(where, patterns, environment) {
  const report = join(folder, 'report.json');
  rmSync(report, { force: true });
  const { status, signal } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules', 'jest', 'bin', 'jest.js'),
      '--json',
      `--outputFile=${report}`,
      '--testTimeout=600000',
      ...patterns.flatMap((pattern) => ['--testPathPatterns', pattern]),
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], env: environment },
  );
  if (!existsSync(report)) giveUp(`The tests ended with ${signal ?? status} and left no report.`);
  const results = JSON.parse(readFileSync(report, 'utf8'));
  passed += results.numPassedTests;
  failed += results.numFailedTests + results.numRuntimeErrorTestSuites;
  console.log(`${where}: ${results.numPassedTests} passed, ${results.numFailedTests} failed`);
  // Kernels that nothing launched, for instance: reporters fail a run without failing a test.
  if (status !== 0 && results.success) failed += 1;
}
