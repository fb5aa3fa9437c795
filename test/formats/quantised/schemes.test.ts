// `quantization_config` of every tool, and refusals by name.
import { Fields } from '../../../lib/formats/hugging-face/json.js';
import { groupOf, readScheme } from '../../../lib/formats/hugging-face/quantised/scheme.js';
import { thrown } from '../scratch.js';

const scheme = (json: Record<string, unknown>) => readScheme(new Fields(json, 'config.json'));

test('gptq, its two formats, and Marlin', () => {
  const base = { quant_method: 'gptq', bits: 4, group_size: 128, desc_act: true };
  expect(scheme(base)).toEqual({ method: 'gptq', bits: 4, symmetric: true, zeroPlusOne: true });
  expect(scheme({ ...base, sym: false, checkpoint_format: 'gptq_v2' })).toEqual({
    method: 'gptq',
    bits: 4,
    symmetric: false,
    zeroPlusOne: false,
  });
  // quantize_config.json of older tools names no method.
  expect(scheme({ bits: 8, group_size: -1, sym: true })).toMatchObject({ method: 'gptq', bits: 8 });
  expect(scheme({ ...base, checkpoint_format: 'marlin' })).toEqual({ method: 'marlin' });
  expect(scheme({ ...base, is_marlin_format: true })).toEqual({ method: 'marlin' });
});

test('awq and qqq', () => {
  expect(scheme({ quant_method: 'awq', bits: 4, group_size: 128, zero_point: true, version: 'GEMM' })).toEqual({
    method: 'awq',
  });
  expect(scheme({ quant_method: 'awq', w_bit: 4, q_group_size: 64 })).toEqual({ method: 'awq' });
  expect(scheme({ quant_method: 'qqq', wbits: 4, group_size: -1 })).toEqual({ method: 'qqq' });
});

const weights = { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 128 };
const compressed = (group: unknown, more: Record<string, unknown> = {}) => ({
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  config_groups: { group_0: group },
  ignore: ['lm_head'],
  ...more,
});

test('compressed-tensors', () => {
  const activations = { num_bits: 8, type: 'int', symmetric: true, strategy: 'token', dynamic: true };
  const channel = { num_bits: 8, type: 'int', symmetric: true, strategy: 'channel' };
  expect(scheme(compressed({ targets: ['Linear'], weights, input_activations: null }))).toEqual({
    method: 'compressed-tensors',
    groups: [{ targets: ['Linear'], bits: 4, symmetric: true, groupSize: 128, tokens: false }],
  });
  expect(
    scheme(
      compressed(
        { targets: ['Linear'], weights: channel, input_activations: activations },
        { format: 'int-quantized' },
      ),
    ),
  ).toEqual({
    method: 'compressed-tensors',
    groups: [{ targets: ['Linear'], bits: 8, symmetric: true, tokens: true }],
  });
});

test('modules find their group by name, by pattern, then by class', () => {
  const group = (targets: string[], bits: 4 | 8) => ({ targets, bits, symmetric: true, tokens: false });
  const groups = [group(['Linear'], 4), group(['re:.*down_proj', 'model.layers.0.mlp.up_proj'], 8)];
  expect(groupOf(groups, 'model.layers.3.mlp.down_proj').bits).toBe(8);
  expect(groupOf(groups, 'model.layers.0.mlp.up_proj').bits).toBe(8);
  expect(groupOf(groups, 'model.layers.1.mlp.up_proj').bits).toBe(4);
  expect(thrown(() => groupOf([groups[1]], 'model.layers.1.mlp.up_proj')).message).toContain(
    'model.layers.1.mlp.up_proj',
  );
});

test('what is not read is refused, and named', () => {
  const cases: [Record<string, unknown>, string][] = [
    [{ quant_method: 'bitsandbytes', load_in_4bit: true }, 'bitsandbytes'],
    [{ quant_method: 'fp8' }, 'fp8'],
    [{ quant_method: 'gptq', bits: 3 }, '3 bits'],
    [{ quant_method: 'gptq', bits: 4, checkpoint_format: 'exl2' }, 'exl2'],
    [{ quant_method: 'gptq', bits: 4, dynamic: { '+:.*down.*': { bits: 8 } } }, 'dynamic'],
    [{ quant_method: 'awq', bits: 4, version: 'gemv_fast' }, 'gemv_fast'],
    [compressed({ targets: ['Linear'], weights: { ...weights, type: 'float', num_bits: 8 } }), 'float'],
    [compressed({ targets: ['Linear'], weights: { ...weights, strategy: 'block' } }), 'block'],
    [compressed({ targets: ['Linear'], weights }, { format: 'marlin-24' }), 'marlin-24'],
    [
      compressed({
        targets: ['Linear'],
        weights,
        input_activations: { num_bits: 8, dynamic: false, strategy: 'tensor' },
      }),
      'input_activations',
    ],
    [compressed({ targets: ['Linear'], weights }, { kv_cache_scheme: { num_bits: 8 } }), 'kv_cache_scheme'],
    [
      compressed({ targets: ['Linear'], weights }, { sparsity_config: { format: 'sparse-24-bitmask' } }),
      'sparsity_config',
    ],
  ];
  for (const [json, named] of cases) {
    expect(thrown(() => scheme(json))).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      message: expect.stringContaining(named),
    });
  }
});
