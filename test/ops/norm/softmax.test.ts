// softmax against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { softmax } from './cases.js';

test.each(softmax.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
