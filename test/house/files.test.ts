// Files keep their size, their place and their name, and say what they are for.
import { dirname } from 'node:path';
import { files, isNative, isSource, isTypeScript, read, stem } from './project.js';

const limits: { test: (file: string) => boolean; lines: number }[] = [
  { test: isTypeScript, lines: 400 },
  { test: isNative, lines: 600 },
  { test: (file) => file === 'README.md', lines: 200 },
];
// Tools expect their files at the top; everywhere else a folder that has grown is divided.
const foldersWithoutLimit = new Set(['.']);
const forbiddenNames = /^(utils?|helpers?|common|misc|manager)$/i;

test('no file exceeds its size', () => {
  const tooLong = files.flatMap((file) => {
    const limit = limits.find((row) => row.test(file));
    if (!limit) return [];
    const lines = read(file).split('\n').length - 1;
    return lines > limit.lines ? [`${file}: ${lines} lines, at most ${limit.lines}`] : [];
  });
  expect(tooLong).toEqual([]);
});

test('no folder has more than 15 entries', () => {
  const entries = new Map<string, Set<string>>();
  for (const file of files) {
    for (let path = file; path !== '.'; path = dirname(path)) {
      const folder = dirname(path);
      entries.set(folder, (entries.get(folder) ?? new Set()).add(path));
    }
  }
  const tooFull = [...entries].filter(([folder, set]) => set.size > 15 && !foldersWithoutLimit.has(folder));
  expect(tooFull.map(([folder, set]) => `${folder}: ${set.size} entries`)).toEqual([]);
});

test('no name says nothing', () => {
  const parts = files.flatMap((file) => file.split('/').map((part) => [file, part.replace(/\..*$/, '')]));
  expect(parts.filter(([, part]) => forbiddenNames.test(part)).map(([file]) => file)).toEqual([]);
});

test('TypeScript files are named in kebab-case, native files in snake_case', () => {
  const odd = files.filter((file) => {
    const name = file.replace(/^.*\//, '').replace(/\..*$/, '');
    if (/^(lib|bench|scripts)\//.test(file) && isTypeScript(file)) return !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name);
    if (/^(cpp|cuda)\//.test(file) && isNative(file)) return !/^[a-z0-9]+(_[a-z0-9]+)*$/.test(name);
    return false;
  });
  expect(odd).toEqual([]);
});

test('the first line of every source says what it is for', () => {
  const silent = files.filter((file) => {
    if (!isSource(file)) return false;
    const [first, second] = read(file).split('\n');
    const line = first.startsWith('#!') ? second : first;
    // A source that begins with its own contract has the contract's first line.
    if (line.startsWith(`#include "`) && line.includes(`/${stem(file).replace(/_kernel$/, '')}.h"`)) return false;
    return !/^(\/\/|\/\*\*?) ?\S+ \S+/.test(line);
  });
  expect(silent).toEqual([]);
});

test('cpp/sources.json lists every source, sorted, and kernels are those compiled per level', () => {
  const { plain, kernels } = JSON.parse(read('cpp/sources.json')) as { plain: string[]; kernels: string[] };
  const sources = files.filter((file) => /^cpp\/.*\.cpp$/.test(file) && !file.startsWith('cpp/test/'));
  expect([...plain, ...kernels].sort()).toEqual([...sources].sort());
  expect(plain).toEqual([...plain].sort());
  expect(kernels).toEqual([...kernels].sort());
  const perLevel = sources.filter((file) => /namespace vivace::VIVACE_ISA|namespace VIVACE_ISA/.test(read(file)));
  expect(kernels).toEqual(perLevel.sort());
});
