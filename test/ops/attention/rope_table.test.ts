// rope_table against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { ropeTable } from './rope-cases.js';

test.each(ropeTable.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
