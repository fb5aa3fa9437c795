// Finds a name that appears twice in one object of a JSON text, which JSON.parse silently resolves in favour of the last.

/** The first duplicate of any object, or undefined. `text` must be valid JSON. */
export function duplicateKey(text: string): string | undefined {
  /** Names seen in each open object; undefined for an open array. */
  const open: (Set<string> | undefined)[] = [];
  let nameNext = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
        open.push(new Set());
        nameNext = true;
        break;
      case 0x5b: // [
        open.push(undefined);
        nameNext = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        nameNext = false;
        break;
      case 0x2c: // ,
        nameNext = open.at(-1) !== undefined;
        break;
      case 0x22: {
        const end = endOfString(text, i);
        const names = open.at(-1);
        if (nameNext && names !== undefined) {
          // Escapes make different texts of one name.
          const name: string = JSON.parse(text.slice(i, end + 1));
          if (names.has(name)) return name;
          names.add(name);
        }
        nameNext = false;
        i = end;
        break;
      }
    }
  }
  return undefined;
}

/** The index of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text.charCodeAt(i) !== 0x22) i += text.charCodeAt(i) === 0x5c ? 2 : 1;
  return i;
}
