// Finds and loads the native addon: a checkout's own build first, then the prebuilt file for this machine.
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VivaceError } from '../errors.js';

// The package has no types of its own.
const nodeGypBuild = require('node-gyp-build') as { resolve(directory: string): string };

// dist/ and lib/ both lie directly in the package.
const packageRoot = resolve(__dirname, '..', '..');

/** The addon's exports. Throws NATIVE_LOAD_FAILED, saying what was looked for, on what machine, and what to do. */
export function loadAddon(): unknown {
  const path = addonPath();
  try {
    return require(path);
  } catch (cause) {
    throw new VivaceError(
      'NATIVE_LOAD_FAILED',
      `Cannot load the native addon ${path} on ${machine()}: ${reason(cause)}`,
      {
        cause,
        remedy: remedy(reason(cause)),
      },
    );
  }
}

/** Where the addon is: VIVACE_ADDON (for the project's own tests), build/Release, or prebuilds/. */
export function addonPath(): string {
  const forced = process.env['VIVACE_ADDON'];
  if (forced) return resolve(forced);
  try {
    return nodeGypBuild.resolve(packageRoot);
  } catch (cause) {
    const places = [
      join(packageRoot, 'build', 'Release'),
      join(packageRoot, 'prebuilds', `${process.platform}-${process.arch}`),
    ];
    throw new VivaceError('NATIVE_LOAD_FAILED', `No native addon for ${machine()}; looked in ${places.join(' and ')}`, {
      cause,
      remedy: remedy(''),
    });
  }
}

function machine(): string {
  const libc = process.platform !== 'linux' ? '' : ` (${libcVersion() ?? 'musl'})`;
  return `${process.platform}-${process.arch}${libc}, Node.js ${process.versions.node}`;
}

function libcVersion(): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime && `glibc ${header.glibcVersionRuntime}`;
}

const reason = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause)).split('\n')[0];

function remedy(why: string): string {
  if (existsSync(join(packageRoot, 'CMakeLists.txt'))) {
    return 'Build it: `npm run build:native` (needs cmake and a C++20 compiler).';
  }
  if (/GLIBC|GLIBCXX/.test(why)) {
    return 'The prebuilt file needs glibc 2.28 or newer; use a newer system or image, or build from a checkout of the source.';
  }
  const directory = join(packageRoot, 'prebuilds');
  const shipped = existsSync(directory) ? readdirSync(directory) : [];
  if (shipped.includes(`${process.platform}-${process.arch}`)) {
    return 'Install the package again (`npm install vivace --force`); when bundling, mark `vivace` as external.';
  }
  return shipped.length === 0
    ? 'The package is incomplete; when bundling, mark `vivace` as external, else install it again (`npm install vivace --force`).'
    : `Prebuilt files exist for ${shipped.join(', ')}; for this machine build from a checkout: \`npm ci\` (needs cmake and a C++20 compiler).`;
}
