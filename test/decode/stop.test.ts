// Stop strings: nothing of them gets out, nothing else is lost or held back without need, however the text is cut.
import fc from 'fast-check';
import { StopFilter } from '../../lib/decode/stop.js';

/** The plain definition: the text ends where the stop string begins that is complete first, of those the longest. */
function cut(text: string, stops: readonly string[]): { visible: string; stop?: string } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length);
    if (found.length > 0) return { visible: text.slice(0, end - found[0].length), stop: found[0] };
  }
  return { visible: text };
}

const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), maxLength: 40 });
const stopStrings = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), minLength: 1, maxLength: 5 }), {
  maxLength: 4,
});

test('what is let out is the text before the first stop string', () => {
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 8 }), stopStrings, (parts, stops) => {
      const filter = new StopFilter(stops);
      const out = parts.map((part) => filter.push(part)).join('') + filter.end();
      const { visible, stop } = cut(parts.join(''), stops);
      expect(out).toBe(visible);
      expect(filter.matched).toBe(stop);
    }),
    { numRuns: 2000 },
  );
});

test('only what may still become a stop string is held back', () => {
  fc.assert(
    fc.property(letters, stopStrings, (text, stops) => {
      const filter = new StopFilter(stops);
      const out = filter.push(text);
      if (filter.matched !== undefined) return;
      const held = text.slice(out.length);
      const isBeginning = (suffix: string): boolean =>
        stops.some((stop) => stop.length > suffix.length && stop.startsWith(suffix));
      // The longest end of the text that begins a stop string, and no more.
      let longest = 0;
      for (let length = 1; length <= text.length; length++) if (isBeginning(text.slice(-length))) longest = length;
      expect(held.length).toBe(longest);
    }),
    { numRuns: 2000 },
  );
});

test('the time is linear in the text, also for stop strings that almost match everywhere', () => {
  const filter = new StopFilter([`${'a'.repeat(5000)}b`, `${'a'.repeat(4999)}c`]);
  const begin = performance.now();
  let length = 0;
  for (let i = 0; i < 2000; i++) length += filter.push('a'.repeat(100)).length;
  length += filter.end().length;
  expect(length).toBe(200000);
  expect(performance.now() - begin).toBeLessThan(2000);
});
