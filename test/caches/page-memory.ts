// Child of page-memory.test.ts: what caches take of this process's memory, as JSON, in MiB. A process of its own, where nothing
// else comes and goes.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { native, nativeCall, type NativeKvCache } from '../../lib/native.js';
import { dtypes } from '../../lib/program/dtype.js';

const MiB = 2 ** 20;
const field = (file: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/self/${file}`, 'utf8'))?.[1]) / 1024;
const held = (): number => field('smaps_rollup', 'Rss');
const huge = (): number => field('smaps_rollup', 'AnonHugePages');

/** Pages of 32 tokens, `pageBytes` each. */
function cache(pageBytes: number): NativeKvCache {
  const [dim, type] = [pageBytes / 32 / 4 / 2, dtypes.F32.id];
  const options = { layers: 1, kvHeads: 1, keyDim: dim, valueDim: dim, keyType: type, valueType: type };
  return new (native().KvCache)({ ...options, pageSize: 32, maxPages: 2 ** 16 });
}

function small(): object {
  const kv = cache(16384);
  const page = new Uint8Array(16384).fill(1);
  const sequence = kv.create();
  const [before, hugeBefore] = [held(), huge()];
  for (let i = 0; i < 16; ++i) kv.writeCells(sequence, 32, page);
  const grown = { held: held() - before, huge: huge() - hugeBefore };
  kv.close();
  return grown;
}

/** Two sequences of 64 MiB that grow in turns, so that their pages lie between each other. */
function large(): object {
  const kv = cache(MiB / 4);
  const page = new Uint8Array(MiB / 4).fill(1);
  const [first, second] = [kv.create(), kv.create()];
  const [before, hugeBefore] = [held(), huge()];
  for (let i = 0; i < 256; ++i) for (const sequence of [first, second]) kv.writeCells(sequence, 32, page);
  const both = { held: held() - before, huge: huge() - hugeBefore };
  kv.release(first);
  const one = held() - before;
  kv.truncate(second, 32 * 128);
  const half = held() - before;
  for (let i = 0; i < 128; ++i) kv.writeCells(second, 32, page);
  const again = held() - before;
  kv.release(second);
  const none = held() - before;
  kv.close();
  return { both, one, half, again, none, closed: held() - before };
}

/** Address space for 48 MiB: pages are given until the last of them is gone. */
function short(): object {
  const kv = cache(MiB);
  const page = Uint8Array.from({ length: MiB }, (_, i) => i % 251);
  const sequence = kv.create();
  const limit = (bytes: string): void => void execFileSync('prlimit', ['--pid', `${process.pid}`, `--as=${bytes}:`]);
  limit(String(Math.round((field('status', 'VmSize') + 48) * MiB)));
  let [pages, code] = [0, 'none'];
  try {
    for (; pages < 100; ++pages) nativeCall(() => kv.writeCells(sequence, 32, page));
  } catch (error) {
    code = (error as { code: string }).code;
  }
  limit('unlimited');
  kv.writeCells(sequence, 32, page);
  const read = new Uint8Array(MiB);
  let same = 0;
  for (let i = 0; i <= pages; ++i) {
    kv.readCells(sequence, 32 * i, 32, read);
    same += Number(Buffer.from(read).equals(page));
  }
  kv.close();
  return { pages, code, same };
}

console.log(JSON.stringify({ small: small(), large: large(), short: short() }));
