// What must not be in the project's text: things left undone, commented-out code, addresses in the lock file.
import { files, isNative, isSource, isTypeScript, read } from './project.js';

const undone = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`);

test('nothing is left undone', () => {
  const found = files.filter((file) => (isSource(file) || file.endsWith('.md')) && undone.test(read(file)));
  expect(found).toEqual([]);
});

test('no code is commented out', () => {
  const found = files.flatMap((file) => {
    if (!isTypeScript(file) && !isNative(file)) return [];
    const lines = read(file).split('\n');
    // A comment that ends like a statement, with a call or an assignment in it.
    const code = /^\s*\/\/\s*(?:[\w.[\]]+\s*=[^=]|(?:const|let|return|if|for|await|auto)\b.*[;{(]|[\w.]+\([^)]*\);)/;
    return lines.flatMap((line, index) =>
      code.test(line) && /[;{]\s*$/.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [],
    );
  });
  expect(found).toEqual([]);
});

test('the lock file names no addresses', () => {
  expect(read('package-lock.json')).not.toMatch(/"resolved":/);
  expect(read('.npmrc')).toContain('omit-lockfile-registry-resolved=true');
});

test('every dependency is used, and every package that lib/ imports is a dependency', () => {
  const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
  const imported = new Set<string>();
  for (const file of files.filter((name) => /^lib\/.*\.ts$/.test(name))) {
    for (const [, name] of read(file).matchAll(/(?:from|import\(|require\()\s*'((?:@[\w.-]+\/)?[\w-][\w.-]*)[^']*'/g)) {
      if (!name.startsWith('node')) imported.add(name);
      else if (name === 'node-gyp-build') imported.add(name);
    }
  }
  expect([...imported].sort()).toEqual(Object.keys(dependencies).sort());
});
