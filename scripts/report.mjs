// Prints jest's JSON summary for a log: every failure with its message, then `N passed, N failed`; exit code 1 if any failed.
// `node scripts/report.mjs SUMMARY.json`
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const summary = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const plain = (text) => text.replace(/\u001b\[[\d;]*m/g, '');
let failed = 0;
for (const suite of summary.testResults) {
  const file = relative(process.cwd(), suite.name);
  const failures = suite.assertionResults.filter((test) => test.status === 'failed');
  for (const test of failures)
    console.log(`FAILED ${file}: ${test.fullName}\n${indent(plain(test.failureMessages.join('\n')))}\n`);
  // A file that could not be run has no tests of its own; it counts as one failure.
  if (suite.status === 'failed' && failures.length === 0) {
    ++failed;
    console.log(`FAILED ${file}\n${indent(plain(suite.message))}\n`);
  }
  failed += failures.length;
}
const skipped = summary.numPendingTests + summary.numTodoTests;
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${summary.numPassedTests} passed, ${failed} failed`);
process.exit(failed > 0 || summary.numPassedTests === 0 ? 1 : 0);

function indent(text) {
  const lines = text.split('\n').filter((line) => !/^\s+at .*(node_modules|node:internal)/.test(line));
  return lines.slice(0, 60).join('\n').replace(/^/gm, '  ');
}
