// Where the tests find data that is too large or too foreign for the repository.
import * as fs from 'node:fs';
import * as path from 'node:path';

/** The absolute path of a file in `../shared/data` beside the repository, or undefined where it is absent. */
export function sharedData(relativePath: string): string | undefined {
  const file = path.resolve(__dirname, '../../shared/data', relativePath);
  return fs.existsSync(file) ? file : undefined;
}
