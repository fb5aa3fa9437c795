// column_select against the reference, on every level and team.
import { checkCase } from '../op-case.js';
import { columnSelect } from './cases.js';

test.each(columnSelect.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));
