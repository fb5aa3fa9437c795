// Device libraries in a few lines of C that misbehave in one way each, compiled when a test wants them.
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..', '..');
const compiler = process.env['CC'] ?? 'cc';

/** Why no library can be made here; undefined: all is well. */
export const missing =
  process.platform === 'win32'
    ? 'the libraries are written for POSIX systems'
    : spawnSync(compiler, ['--version']).status === 0
      ? undefined
      : `there is no ${compiler} to compile them with`;

export interface Fake {
  /** The body of devices(out, capacity, count, error). */
  readonly devices?: string;
  /** What the table says of itself. */
  readonly version?: string;
  readonly size?: string;
  readonly entry?: string;
}

/** Compiles a library into `folder`; its path. */
export function fakeLibrary(folder: string, name: string, fake: Fake): string {
  const { devices = '', version = 'VIVACE_DEVICE_TABLE_VERSION', size = 'sizeof(table)', entry } = fake;
  const path = join(folder, `${name}.so`);
  const source = join(folder, `${name}.c`);
  writeFileSync(
    source,
    `#include "device/table.h"
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    static int devices(VivaceDeviceInfo* out, int32_t capacity, int32_t* count, VivaceDeviceError* error) {
      (void)out, (void)capacity, (void)error;
      *count = 0;
      ${devices}
      return 0;
    }
    static VivaceDeviceTable table;
    const VivaceDeviceTable* ${entry ?? 'vivace_device_table'}(void) {
      table.version = ${version};
      table.size = ${size};
      table.build = "a fake";
      table.devices = devices;
      return &table;
    }\n`,
  );
  const flags = ['-shared', '-fPIC', '-Wall', '-Werror', `-I${join(root, 'cpp')}`, '-o', path, source];
  execFileSync(compiler, flags, { stdio: 'pipe' });
  return path;
}
