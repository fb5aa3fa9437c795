// The kernels of decoding for cards, on the emulated device.
import { filesIn, runChecks, sanitized } from '../checks.js';

test('kernels give what the plainest rules and the host give', () => {
  const lines = runChecks({
    programs: ['decode/decode.cu', 'decode/sample.cu', 'decode/verify.cu', 'decode/laws.cu'],
    kernels: [...filesIn('cuda/decode', '.cu'), ...filesIn('cuda/decode/verify', '.cu')],
    host: [...filesIn('cpp/decode', '.cpp'), ...filesIn('cpp/decode/verify', '.cpp'), 'cpp/core/isa.cpp'],
    flags: ['-DVIVACE_ISA=baseline'],
  });
  if (lines === undefined) return;
  expect(lines).toEqual([
    'ok greedy choices, their logprobs and errors',
    'ok greedy chains',
    'ok greedy trees',
    ...[
      "draws of small vocabularies are the host's",
      "draws of a large vocabulary are the host's",
      "draws of flat rows are the host's",
    ].flatMap((line) => [
      `ok ${line}`,
      'ok and so are their most probable tokens',
      'ok and those after bias, penalties and bans',
      'ok and the laws that are kept',
    ]),
    "ok verdicts on chains are the host's",
    "ok verdicts on trees are the host's",
    "ok verdicts on children that are often refused are the host's",
    "ok verdicts on chains as a whole are the host's",
    "ok verdicts on chains that are often refused are the host's",
    "ok verdicts by entropy are the host's",
    "ok verdicts by rank are the host's",
    ...['with second readings', 'with judges', 'with all of them'].flatMap((beyond) =>
      ['match', 'ratio', 'block', 'typical', 'relaxed'].map(
        (rule) => `ok verdicts by ${rule} ${beyond} are the host's`,
      ),
    ),
    "ok verdicts by the laws' divergence are the host's",
    "ok verdicts by the laws' divergence with all of them are the host's",
    'ok the law of a chosen tree, by match',
    'ok the law of a drawn chain, by ratio',
    'ok the law of a drawn chain, by block',
    'ok the law of a tree without replacement, by ratio',
    'ok the law of a tree with replacement, by ratio',
    ...(sanitized
      ? []
      : ["ok another row's law is found", 'ok a whole law of truncated draws is found', 'ok a dropped token is found']),
  ]);
}, 900_000);
