// Runs the tests that reach native code under AddressSanitizer and UndefinedBehaviorSanitizer.
// `node scripts/test-sanitize.mjs [jest arguments]`; Linux only, because elsewhere the runtime cannot be loaded first.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
if (process.platform !== 'linux') {
  console.log(`Skipped: sanitizers are run on Linux, this is ${process.platform}`);
  process.exit(0);
}

const build = spawnSync(
  process.execPath,
  [join(root, 'scripts', 'build-native.mjs'), '--out', 'build-sanitize', '--VIVACE_SANITIZE=ON'],
  { cwd: root, stdio: 'inherit' },
);
if (build.status !== 0) process.exit(1);

// Node itself is not instrumented, so the runtimes must be there before it.
const runtimes = ['libasan.so', 'libubsan.so'].map((name) => {
  const { stdout } = spawnSync(process.env['CXX'] ?? 'c++', [`-print-file-name=${name}`], { encoding: 'utf8' });
  if (!existsSync(stdout.trim())) throw new Error(`The compiler has no ${name}; install its sanitizer runtimes`);
  return stdout.trim();
});

// Everything except what starts processes of its own, reads or writes long texts, or looks at the project's text.
const folders = ['ops', 'quant', 'caches', 'decode', 'program', 'native', 'fuzz', 'models', 'session', 'engine'];
// Kernels for cards as programs of their own, which bring the sanitizers along.
folders.push('cuda/emulation', 'cuda/decode');
// Statistics, and what others here show faster.
const left = ['program/device-probe', 'models/long', 'decode/lossy/judge-sessions', 'decode/lossy/package-judge'];
left.push('decode/speculation/cross-vocabulary/partners', 'session/speculation/acceptance');
const given = process.argv.slice(2);
const chosen = given.some((argument) => !argument.startsWith('-'));
const { status, signal } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules', 'jest', 'bin', 'jest.js'),
    '--maxWorkers=2',
    '--testTimeout=600000', // several times slower than without
    ...(chosen ? [] : ['--testPathPatterns', `test/(?!${left.join('|')})(${folders.join('|')})(/|\\.)`]),
    ...given,
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      // What statistics need a million times, memory errors show in fewer.
      CI: '',
      VIVACE_PROMPTS: '4',
      LD_PRELOAD: runtimes.join(' '),
      // V8 keeps its heap until the process ends, which the leak detector takes for leaks. Freed memory is kept back only
      // a little, so that tests that watch the process's memory hold.
      ASAN_OPTIONS:
        'detect_leaks=0:halt_on_error=1:abort_on_error=0:exitcode=99:allocator_may_return_null=1:quarantine_size_mb=8',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
      VIVACE_ADDON: join(root, 'build-sanitize', 'Release', 'vivace.node'),
    },
  },
);
if (signal) console.error(`The tests were ended by ${signal}`);
process.exit(status ?? 1);
