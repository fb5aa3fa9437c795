// quantizeModel for the public API: what it needs is loaded by the first call, because most programs never quantise.
import type * as quantize from './quantize.js';

/** Writes a model with weights of another type; see `QuantizeOptions`. */
export const quantizeModel: typeof quantize.quantizeModel = async (input, output, options) =>
  (require('./quantize.js') as typeof quantize).quantizeModel(input, output, options);
