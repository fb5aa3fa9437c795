// rms_norm against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { rmsNorm } from './cases.js';

test.each(rmsNorm.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
