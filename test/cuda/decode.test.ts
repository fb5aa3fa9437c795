// The kernels of decoding for cards, on the emulated device.
import { filesIn, runChecks } from './checks.js';

test('kernels give what the plainest rules and the host give', () => {
  const lines = runChecks({
    programs: ['decode.cu', 'sample.cu'],
    kernels: filesIn('cuda/decode', '.cu'),
    host: [...filesIn('cpp/decode', '.cpp'), ...filesIn('cpp/decode/verify', '.cpp'), 'cpp/core/isa.cpp'],
    flags: ['-DVIVACE_ISA=baseline'],
  });
  if (lines === undefined) return;
  expect(lines).toEqual([
    'ok greedy choices, their logprobs and errors',
    'ok greedy chains',
    'ok greedy trees',
    "ok draws of small vocabularies are the host's",
    "ok draws of a large vocabulary are the host's",
    "ok draws of flat rows are the host's",
    "ok verdicts on chains are the host's",
    "ok verdicts on trees are the host's",
    "ok verdicts on children that are often refused are the host's",
  ]);
}, 400_000);
