// How the tests run: TypeScript through swc, sources straight from lib/, the addon from build/Release.
module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } },
    ],
  },
  // Sources import each other as .js, which is what they become.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/build', '<rootDir>/prebuilds/'],
  reporters: ['default', '<rootDir>/test/house/launched-kernels.js'],
  testTimeout: 300000, // the longest takes a third of it, alone on two slow cores
  maxWorkers: 2,
};
