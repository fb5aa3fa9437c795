#!/usr/bin/env node
// Starts the command line; everything else is in lib/cli.
'use strict';
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const main = join(__dirname, '..', 'dist', 'cli', 'main.js');
if (existsSync(main)) {
  require(main).main(process.argv);
} else {
  process.stderr.write('error: vivace is not built yet. Run `npm ci`, or `npm run build` in this checkout.\n');
  process.exitCode = 1;
}
