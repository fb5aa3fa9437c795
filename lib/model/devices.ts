// What this machine can run models on, and why not on the rest.
import { existsSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import { native } from '../native.js';
import { libraryPlaces } from '../program/device-library.js';
import type { DeviceName } from '../program/device-library.js';
import { probeDevice } from '../program/device-probe.js';
import { defaultThreads } from './threads.js';

/** One device, or what was found in place of one. */
export interface DeviceReport {
  /** What `loadModel` calls it. */
  readonly device: 'cpu' | DeviceName;
  readonly usable: boolean;
  /** Why it cannot be used, and what to do. */
  readonly reason?: string;
  readonly remedy?: string;
  readonly name?: string;
  /** Bytes. */
  readonly memory?: number;
  readonly freeMemory?: number;
  /** Of the CPU: instruction-set levels that it runs, best last, and the threads of a run. */
  readonly levels?: readonly string[];
  readonly threads?: number;
  /** Of a graphics card. */
  readonly capability?: string;
  readonly multiprocessors?: number;
  /** The library that drives the card: its file, and what it was built with and for. */
  readonly library?: string;
  readonly build?: string;
}

/** Every device of this machine. Libraries are tried in a process of their own, which has 30 seconds. */
export async function listDevices(): Promise<DeviceReport[]> {
  const names: DeviceName[] = ['cuda'];
  if (existsSync(libraryPlaces('cuda-emulated')[0])) names.push('cuda-emulated');
  return [processor(), ...(await Promise.all(names.map(cards))).flat()];
}

function processor(): DeviceReport {
  const device = 'cpu';
  const about = { name: cpus()[0]?.model.trim() || process.arch, memory: totalmem(), freeMemory: freemem() };
  try {
    return { device, usable: true, ...about, levels: native().isaLevels(), threads: defaultThreads() };
  } catch (error) {
    const { message, remedy } = error as Error & { remedy?: string };
    return { device, usable: false, reason: message, ...(remedy === undefined ? {} : { remedy }), ...about };
  }
}

async function cards(device: DeviceName): Promise<DeviceReport[]> {
  const { library, build, devices, error } = await probeDevice(device);
  const driven = { ...(library === undefined ? {} : { library }), ...(build === undefined ? {} : { build }) };
  if (error !== undefined) {
    const { message: reason, remedy } = error;
    return [{ device, usable: false, reason, ...(remedy === undefined ? {} : { remedy }), ...driven }];
  }
  if (devices.length === 0) {
    const remedy = 'Check `nvidia-smi` and CUDA_VISIBLE_DEVICES.';
    return [
      { device, usable: false, reason: 'The driver works, but this machine has no NVIDIA card', remedy, ...driven },
    ];
  }
  return devices.map(({ name, capability, multiprocessors, memory, free, unusable }) => ({
    device,
    usable: unusable === undefined,
    ...(unusable === undefined ? {} : { reason: unusable }),
    name,
    memory,
    freeMemory: free,
    capability,
    multiprocessors,
    ...driven,
  }));
}
