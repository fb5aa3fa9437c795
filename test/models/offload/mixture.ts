// A small random mixture of experts with enough layers and experts for some of them not to fit.
import { randomModel, type RandomModel } from '../../fixtures/random-model.js';

const { config, ...rest } = randomModel('qwen2moe-steady');
const layers = 4;

export const mixture: RandomModel = {
  ...rest,
  name: 'mixture',
  config: {
    ...config,
    layers,
    experts: { ...config.experts!, count: 12, used: 3, sparse: Array.from({ length: layers }, () => true) },
  },
};
