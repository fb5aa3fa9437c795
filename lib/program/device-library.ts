// Where the library that drives a device is: a checkout's own build first, then the package `vivace-cuda`.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VivaceError } from '../errors.js';
import type { NativeDevice } from '../native.js';

export type DeviceName = 'cuda' | 'cuda-emulated';

// dist/ and lib/ both lie directly in the package.
const packageRoot = resolve(__dirname, '..', '..');

const suffix = process.platform === 'win32' ? '.dll' : '.so';

/** Files that may be the library, in the order in which they are looked for; one named by VIVACE_CUDA_LIBRARY is alone. */
export function libraryPlaces(name: DeviceName): string[] {
  const emulated = join(packageRoot, 'build', 'Release', 'vivace-cuda-emulated.so');
  if (name === 'cuda-emulated') return [emulated];
  const named = process.env['VIVACE_CUDA_LIBRARY'];
  if (named) return [resolve(named)];
  const file = `vivace-cuda${suffix}`;
  return [join(packageRoot, 'build-cuda', file), join(installedPackage(), `${process.platform}-${process.arch}`, file)];
}

/** Where `vivace-cuda` is installed for this package or for the program that runs; else where it would be. */
function installedPackage(): string {
  try {
    return join(require.resolve('vivace-cuda/package.json', { paths: [packageRoot, process.cwd()] }), '..');
  } catch {
    return join(packageRoot, '..', 'vivace-cuda');
  }
}

/** The first device of a library. Throws DEVICE_UNAVAILABLE when there is no library. */
export function findDevice(name: DeviceName): NativeDevice {
  const places = libraryPlaces(name);
  const library = places.find((path) => existsSync(path));
  if (library !== undefined) return { library, index: 0 };
  const build = name === 'cuda' ? 'npm run build:cuda` (needs nvcc 13.0)' : 'npm run build:native`';
  throw new VivaceError('DEVICE_UNAVAILABLE', `No library for the device '${name}'; looked for ${places.join(', ')}`, {
    remedy: existsSync(join(packageRoot, 'CMakeLists.txt'))
      ? `Build it: \`${build}, or use device: 'cpu'.`
      : "Install the package `vivace-cuda` of the same version beside vivace, or use device: 'cpu'.",
  });
}
