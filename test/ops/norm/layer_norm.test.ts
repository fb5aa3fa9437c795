// layer_norm against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { layerNorm } from './cases.js';

test.each(layerNorm.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
