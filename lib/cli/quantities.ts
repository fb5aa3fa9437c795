// Numbers with units, as people read them.

const group = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** Three significant digits below a thousand, grouped integers above. */
export function amount(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return Math.abs(value) >= 1000 ? group.format(value) : String(Number(value.toPrecision(3)));
}

/** 1536 → 1.5 KiB */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = count;
  for (; value >= 1024 && unit < units.length - 1; ++unit) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

/** 1234567 → 1.23 M */
export function count(value: number): string {
  const units = ['', ' K', ' M', ' G'];
  let unit = 0;
  let rest = value;
  for (; rest >= 1000 && unit < units.length - 1; ++unit) rest /= 1000;
  return `${Number(rest.toPrecision(3))}${units[unit]}`;
}

/** Bytes per second in GB/s (10⁹). */
export const bandwidth = (bytesPerSecond: number): string => `${amount(bytesPerSecond / 1e9)} GB/s`;

export const percent = (fraction: number): string => `${amount(fraction * 100)} %`;

/** Rows in columns. A column of numbers is set to the right; its heading may be a word. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = (rows[0] ?? []).map((_, index) => {
    const cells = rows.map((row) => row[index]);
    const numbers = cells.slice(1).every((cell) => /^[\d–]|^$/.test(cell));
    return { width: Math.max(...cells.map(({ length }) => length)), numbers: numbers && cells.length > 1 };
  });
  const cell = (text: string, index: number): string =>
    columns[index].numbers ? text.padStart(columns[index].width) : text.padEnd(columns[index].width);
  return rows.map((row) => row.map(cell).join('  ').trimEnd()).join('\n');
}

/** Least, middle and greatest of measured values. */
export function spread(values: readonly number[]): { min: number; median: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { min: sorted[0], median, max: sorted[sorted.length - 1] };
}
