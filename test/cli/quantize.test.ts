// `vivace quantize`: a file that runs, one line about it, and memory for a few rows only.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeGguf } from '../../lib/formats/gguf-writer.js';
import { tensorShapes } from '../fixtures/random/tensors.js';
import { ggufMetadata } from '../fixtures/random/gguf.js';
import { randomVocabulary } from '../fixtures/random/vocabulary.js';
import { randomModel } from '../fixtures/random-model.js';
import { embedded, root, vivace, vivaceJson } from './command.js';

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'vivace-quantize-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the embedded model in four bits still writes text', async () => {
  const output = join(folder, 'tiny.gguf');
  const { code, stdout, stderr } = await vivace(['quantize', embedded, output, '--type', 'Q4_0']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
  expect(stderr).toContain('tiny.gguf: ');
  expect(statSync(output).size).toBeLessThan(statSync(embedded).size);
  const { text } = await vivaceJson<{ text: string }>([
    'run',
    output,
    'Once upon a time',
    '-n',
    '12',
    '--temperature',
    '0',
  ]);
  expect(text.length).toBeGreaterThan(10);
});

test('--json gives one object; an unknown type is refused in one line', async () => {
  const output = join(folder, 'tiny-8.gguf');
  const result = await vivaceJson<Record<string, unknown>>(['quantize', embedded, output, '--type', 'Q8_0']);
  expect(result).toMatchObject({ path: output, notes: expect.any(Array), bytes: expect.any(Number) });
  const { code, stderr } = await vivace(['quantize', embedded, output, '--type', 'Q7']);
  expect(code).toBe(1);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test('a model of 270 MB needs less than 400 MB of memory', () => {
  const small = randomModel('llama-steady');
  const config = { ...small.config, width: 1024, hidden: 4096, layers: 8, heads: 16, kvHeads: 16 };
  const large = { ...small, config };
  const piece = new Uint8Array(
    Uint16Array.from({ length: 2 ** 20 }, (_, i) => 0x2000 | ((i * 2654435761) >>> 22)).buffer,
  );
  const input = join(folder, 'large.gguf');
  writeGguf(input, {
    metadata: { ...ggufMetadata(large, 'F16'), ...randomVocabulary(large.vocabulary).gguf },
    tensors: tensorShapes(large).map(([name, ...shape]) => {
      const bytes = shape.reduce((a, b) => a * b, 1) * (shape.length === 1 ? 4 : 2);
      return {
        name,
        dtype: shape.length === 1 ? 'F32' : 'F16',
        shape,
        data: function* () {
          for (let done = 0; done < bytes; done += piece.length)
            yield piece.subarray(0, Math.min(piece.length, bytes - done));
        },
      };
    }),
  });
  expect(statSync(input).size).toBeGreaterThan(250e6);
  // `maxRSS` begins with what the parent had when it forked; the kernel's own count of this process does not.
  const peak = existsSync('/proc/self/status')
    ? `+/VmHWM:\\s*(\\d+)/.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))[1]`
    : 'process.resourceUsage().maxRSS';
  const script = `
    require(${JSON.stringify(join(root, 'dist', 'index.js'))})
      .quantizeModel(${JSON.stringify(input)}, ${JSON.stringify(join(folder, 'large-8.gguf'))}, { type: 'Q8_0' })
      .then(() => console.log((${peak}) / 1024));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(Number(stdout)).toBeLessThan(400);
});
