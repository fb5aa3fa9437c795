// soft_cap against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { softCap } from './cases.js';

test.each(softCap.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
