// How many threads compute when nobody says.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';

/**
 * What a thread of a run has to read of matrices, once per row, to be worth it. The ops of a small run are over in
 * microseconds, and members of a team wait for each other after each, longest where another thread, as JavaScript's, has
 * a member's core: a model of 7 MB says 7000 tokens a second with one thread and 3000 with two, on two cores.
 */
export const BYTES_PER_THREAD = 8 * 2 ** 20;

/** One per core, for hyper-threads share what a decode step is short of; 16 saturate the memory of most machines. */
export function defaultThreads(): number {
  const available = availableParallelism();
  return Math.max(1, Math.min(16, Math.ceil(available / threadsPerCore())));
}

function threadsPerCore(): number {
  if (process.platform === 'linux') {
    try {
      const siblings = readFileSync('/sys/devices/system/cpu/cpu0/topology/thread_siblings_list', 'latin1');
      return /[,-]/.test(siblings) ? 2 : 1;
    } catch {
      return 1;
    }
  }
  return process.arch === 'x64' && cpus().length > 4 ? 2 : 1;
}
