// gated_activation against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { gatedActivation } from './cases.js';

test.each(gatedActivation.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
