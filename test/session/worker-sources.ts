// For worker threads: a script that takes `loadModel` from the sources, which are TypeScript, as the tests themselves do.
import { join } from 'node:path';

const packageFile = JSON.stringify(join(__dirname, '..', '..', 'package.json'));

/** The beginning of a worker's script; `loadModel` is in scope after it. */
export const readSources = `
  const fromPackage = require('node:module').createRequire(${packageFile});
  const { transformSync } = fromPackage('@swc/core');
  require('node:module')._extensions['.ts'] = (module, file) => module._compile(
    transformSync(require('node:fs').readFileSync(file, 'utf8'), {
      filename: file, jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' },
    }).code, file);
  const resolve = require('node:module')._resolveFilename;
  require('node:module')._resolveFilename = function (name, ...rest) {
    try { return resolve.call(this, name, ...rest); } catch (error) {
      return resolve.call(this, name.replace(/\\.js$/, '.ts'), ...rest);
    }
  };
  const { loadModel } = fromPackage('./lib/index.ts');`;
