// Where the library that drives a device is: a checkout's own build first, then the package `vivace-cuda`.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VivaceError } from '../errors.js';
import type { NativeDevice } from '../native.js';

export type DeviceName = 'cuda' | 'cuda-emulated';

// dist/ and lib/ both lie directly in the package.
const packageRoot = resolve(__dirname, '..', '..');

const suffix = process.platform === 'win32' ? '.dll' : process.platform === 'darwin' ? '.dylib' : '.so';

/** Files that may be the library, in the order in which they are looked for. */
export function libraryPlaces(name: DeviceName): string[] {
  const file = `vivace-${name}${name === 'cuda' ? suffix : '.so'}`;
  const places = [join(packageRoot, 'build', 'Release', file)];
  if (name === 'cuda') {
    places.push(join(packageRoot, 'build-cuda', file));
    try {
      places.push(join(require.resolve('vivace-cuda/package.json'), '..', file));
    } catch {
      places.push(join(packageRoot, '..', 'vivace-cuda', file));
    }
  }
  return places;
}

/** The first device of a library. Throws DEVICE_UNAVAILABLE when there is no library. */
export function findDevice(name: DeviceName): NativeDevice {
  const places = libraryPlaces(name);
  const library = places.find((path) => existsSync(path));
  if (library !== undefined) return { library, index: 0 };
  throw new VivaceError('DEVICE_UNAVAILABLE', `No library for the device '${name}'; looked for ${places.join(', ')}`, {
    remedy: "Build it from a checkout (`npm run build:cuda`, which needs nvcc 13.0), or use device: 'cpu'.",
  });
}
