// scale against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { scale } from './cases.js';

test.each(scale.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
