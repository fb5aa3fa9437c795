// mul against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { mul } from './cases.js';

test.each(mul.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
