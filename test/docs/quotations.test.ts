// Code that a page quotes from a file (```cpp file=…) is still in that file.
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..', '..');
const squeeze = (code: string): string => code.replace(/\s+/g, ' ').trim();

const quotations = readdirSync(join(root, 'docs'))
  .filter((page) => page.endsWith('.md'))
  .flatMap((page) =>
    [...readFileSync(join(root, 'docs', page), 'utf8').matchAll(/^```\w+ file=(\S+)\n([^]*?)^```/gm)].map(
      ([, file, code]): [string, string, string] => [page, file, code],
    ),
  );

test('pages quote code', () => expect(quotations.length).toBeGreaterThan(5));

test.each(quotations)('%s quotes %s', (_, file, code) => {
  expect(squeeze(readFileSync(join(root, file), 'utf8'))).toContain(squeeze(code));
});
