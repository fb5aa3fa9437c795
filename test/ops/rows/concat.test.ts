// concat against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { concat } from './cases.js';

test.each(concat.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
