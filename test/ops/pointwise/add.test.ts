// add against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { add } from './cases.js';

test.each(add.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
