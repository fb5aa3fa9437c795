// row_select against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { rowSelect } from './cases.js';

test.each(rowSelect.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
