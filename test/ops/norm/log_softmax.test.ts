// log_softmax against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { logSoftmax } from './cases.js';

test.each(logSoftmax.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
