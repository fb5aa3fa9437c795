// A whole model through the kernels for cards, emulated: the CPU's greedy tokens, in sessions that share rounds.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../../lib/index.js';
import type { Device } from '../../lib/model/load.js';
import { randomModel, writeRandomGguf } from '../fixtures/random-model.js';
import { cardName, emulatedDevice } from '../ops/executors.js';

async function tell(device: Device, prompts: readonly string[]): Promise<string[]> {
  const model = await loadModel(undefined, { device, threads: 1 });
  try {
    return await Promise.all(
      prompts.map(async (prompt) => {
        using session = model.createSession();
        let text = '';
        for await (const piece of session.generate(prompt, { maxTokens: 10, temperature: 0 })) text += piece.text;
        return text;
      }),
    );
  } finally {
    model.dispose();
  }
}

(emulatedDevice() ? test : test.skip)('the embedded model says the same', async () => {
  const prompts = ['The sea ', 'k01=v07; k09=v02; k01→', 'Hello, '];
  expect(await tell(cardName, prompts)).toEqual(await tell('cpu', prompts));
});

test('a device that is not there is named, with where it was looked for', async () => {
  if (process.env['VIVACE_ADDON'] || cardName === 'cuda') return;
  await expect(loadModel(undefined, { device: 'cuda' })).rejects.toMatchObject({ code: 'DEVICE_UNAVAILABLE' });
});

test.each(['cuda-emulated', 'cuda', 'reference'] as const)('%s: routing is not recorded there', async (device) => {
  if (device !== 'reference' && (device !== cardName || !emulatedDevice())) return; // no library of this kind here
  const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
  const file = join(folder, 'experts.gguf');
  writeRandomGguf(file, randomModel('mixtral'), 'F16');
  const error = { code: 'UNSUPPORTED_FEATURE', message: expect.stringContaining('CPU only') };
  await expect(loadModel(file, { device, experts: { trace: true } })).rejects.toMatchObject(error);
  rmSync(folder, { recursive: true });
});
