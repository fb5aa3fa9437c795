// Experts that are not all in memory, in words: the plan before loading, and what reading them came to.
import type { ExpertPlan } from '../../experts/plan.js';
import type { ExpertStatistics } from '../../experts/statistics.js';
import { amount, bytes, percent } from '../quantities.js';

/** `experts  fate: 96 of 240 in memory (430.2 MiB of 1.2 GiB), 10 of them on their way, per layer 22 21 21 22` */
export function planLine({ policy, resident, slots, layers, staging, ...plan }: ExpertPlan): string {
  if (resident) return `experts  all in memory, ${bytes(plan.expertBytes)}`;
  const most = 12;
  const each = layers.map((layer) => String(layer.slots));
  const shown = each.length > most ? [...each.slice(0, most), '…'] : each;
  return (
    `experts  ${policy}: ${slots} at a time in ${bytes(plan.bytes)} of ${bytes(plan.memory)} (all of them: ${bytes(plan.expertBytes)}), ` +
    `${staging} of these on their way; per layer ${shown.join(' ')} stay`
  );
}

/** `hits 61 %, predicted 97 %; 231.1 MiB read in 120 copies; waited 312 ms` */
export function statisticsLine({ hitRate, accuracy, ...read }: ExpertStatistics): string {
  const predicted = accuracy === undefined ? '' : `, predicted ${percent(accuracy)}`;
  const direct = read.directReads ? '' : ' (through the system’s cache)';
  return `hits ${percent(hitRate)}${predicted}; ${bytes(read.bytesCopied)} read in ${read.copies} copies${direct}; waited ${amount(read.stallMs)} ms`;
}
