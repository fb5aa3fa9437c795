// A reporter of jest: after a run of all tests, every kernel in cuda/ must have been launched by one of them. Emulation
// leaves a file per kernel in a folder, from whichever process it runs in. Runs of some tests alone are not judged.
const { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const VARIABLE = 'VIVACE_EMULATED_KERNELS';
// On the line before a kernel of instructions that only cards have.
const UNTESTED = /\/\/ GPU-tested only/;

/** Names of the kernels in a source, and which of them emulation cannot run. */
function kernelsIn(text) {
  const kernel =
    /^(.*\n)?(?:template <[^\n]*>\n)?__global__ void (?:__launch_bounds__\([^()]*(?:\([^()]*\)[^()]*)*\)\s+)?(\w+)\(/gm;
  return [...text.matchAll(kernel)].map(([, before = '', name]) => ({ name, emulated: !UNTESTED.test(before) }));
}

class LaunchedKernels {
  constructor({ rootDir, testNamePattern }) {
    this.rootDir = rootDir;
    this.wholeFiles = !testNamePattern;
  }

  onRunStart() {
    this.folder = mkdtempSync(join(tmpdir(), 'vivace-kernels-'));
    process.env[VARIABLE] = this.folder;
  }

  onRunComplete(_, { testResults, wasInterrupted }) {
    const launched = new Set(readdirSync(this.folder));
    rmSync(this.folder, { recursive: true });
    delete process.env[VARIABLE];
    const run = new Set(testResults.filter(({ skipped }) => !skipped).map(({ testFilePath }) => testFilePath));
    const partial =
      !this.wholeFiles || wasInterrupted || this.files('test', /\.test\.ts$/).some((file) => !run.has(file));
    if (partial || process.env.VIVACE_ADDON) return;
    if (!existsSync(join(this.rootDir, 'build', 'Release', 'vivace-cuda-emulated.so'))) {
      console.log('Not checked: whether every kernel in cuda/ was launched, because there is no emulated library.');
      return;
    }
    const missing = this.kernels().filter(({ name, emulated }) => emulated && !launched.has(name));
    if (missing.length === 0) return;
    const list = missing.map(({ name, file }) => `  ${name} in ${file}`).join('\n');
    this.error = new Error(`No test launched these kernels, emulated or in a program of test/cuda:\n${list}`);
    console.error(this.error.message);
  }

  /** Jest fails the run for it. */
  getLastError() {
    return this.error;
  }

  /** Every kernel of the project: { file, name, emulated }. */
  kernels() {
    return this.files('cuda', /\.(cu|h)$/).flatMap((file) =>
      kernelsIn(readFileSync(file, 'utf8')).map((kernel) => ({ file: file.slice(this.rootDir.length + 1), ...kernel })),
    );
  }

  files(folder, pattern) {
    return readdirSync(join(this.rootDir, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && pattern.test(entry.name))
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  }
}

module.exports = LaunchedKernels;
module.exports.kernelsIn = kernelsIn;
