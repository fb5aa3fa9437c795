// `vivace inspect --devices`: a paragraph per device, with the reason when it cannot be used.
import { listDevices } from '../model/devices.js';
import type { DeviceReport } from '../model/devices.js';
import { bytes } from './quantities.js';
import { oneLine, printJson, style } from './terminal.js';

export async function showDevices(json: boolean): Promise<void> {
  const devices = await listDevices();
  if (json) printJson({ devices });
  else process.stdout.write(`${devices.map(paragraph).join('\n\n')}\n`);
}

function paragraph(report: DeviceReport): string {
  const { device, usable, name, reason, remedy } = report;
  const verdict = style(process.stdout, usable ? 'green' : 'red', usable ? 'usable' : 'not usable');
  const title = style(process.stdout, 'bold', device);
  const rows = facts(report).filter((row): row is [string, string] => row[1] !== undefined);
  const lines = [
    `${title}: ${verdict}${name === undefined ? '' : `, ${name}`}`,
    ...(usable ? [] : [oneLine([reason, remedy])]),
    ...rows.map(([fact, value]) => `${fact.padEnd(20)}${value}`),
  ];
  return lines.join('\n  ');
}

const facts = (report: DeviceReport): [string, string | undefined][] => [
  ['levels', report.levels?.join(', ')],
  ['threads', report.threads?.toString()],
  ['compute capability', report.capability],
  ['multiprocessors', report.multiprocessors?.toString()],
  ['memory', report.memory === undefined ? undefined : memory(report.memory, report.freeMemory ?? 0)],
  ['library', report.library],
  ['built', report.build],
];

const memory = (all: number, free: number): string => `${bytes(all)}, ${bytes(free)} free`;
