// What a model's layers and experts cost on this machine, from a profile of prompt and decoding.
import type { ModelSource } from '../../../formats/model-source.js';
import type { Costs } from '../../../experts/simulate/machine.js';
import type { Profile } from '../profile.js';

/** Bytes of an expert's gate, up and down. */
export function expertBytes({ config, tensors }: Pick<ModelSource, 'config' | 'tensors'>): number {
  const count = config.experts?.count ?? 1;
  const layers = config.experts?.sparse.filter(Boolean).length ?? 1;
  let bytes = 0;
  for (const { name, bytes: own } of tensors.values()) if (/ffn_\w+_exps\.weight$/.test(name)) bytes += own;
  return bytes / count / layers;
}

/** Milliseconds of a profile's unit that belong to routed experts, to shared ones, and to what runs once per run. */
function shares({ ms, rows }: Profile): { experts: number; shared: number; once: number; rest: number } {
  const sum = (of: (row: Profile['rows'][number]) => boolean): number =>
    rows.filter(of).reduce((total, row) => total + row.ms, 0);
  const experts = sum(({ op }) => op.startsWith('expert_'));
  const shared = sum(
    ({ op, weight }) => !op.startsWith('expert_') && /_shexp$/.test(weight) && weight !== 'ffn_gate_inp_shexp',
  );
  const once = sum(({ op, weight }) => op === 'sample' || /^(output|token_embd)/.test(weight));
  return { experts, shared, once, rest: Math.max(0, ms - experts - shared - once) };
}

/**
 * Costs of a run from a profile of a token and one of a prompt; between them and beyond, straight lines, and never less than a token
 * costs. An expert of one row takes its share of what all of a token take.
 */
export function measuredCosts(
  { decode, prefill }: { decode: Profile; prefill: Profile },
  { layers, used, copySeconds }: { layers: number; used: number; copySeconds: number },
): Costs {
  const [one, many] = [shares(decode), shares(prefill)];
  const between =
    (part: 'shared' | 'once' | 'rest', of: number): ((rows: number) => number) =>
    (rows) => {
      const slope = Math.max(0, (many[part] - one[part]) / Math.max(1, prefill.tokens - 1));
      return (one[part] + slope * (rows - 1)) / of / 1000;
    };
  const expert = one.experts / layers / used / 1000;
  const perRow = many.experts / prefill.tokens / layers / used / 1000;
  return {
    dense: between('rest', layers),
    shared: between('shared', layers),
    rest: between('once', 1),
    expert: (rows) => Math.max(expert, perRow * rows),
    copy: () => copySeconds,
  };
}
