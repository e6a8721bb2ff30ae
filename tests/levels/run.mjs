// Runs a program for WASI in Node: `node run.mjs PROGRAM ARGUMENTS...`. It sees the files of this machine, as the
// tests of other machines do.

import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

const [, , program, ...rest] = process.argv;
const wasi = new WASI({
  version: 'preview1',
  args: [program, ...rest],
  env: process.env,
  preopens: { '/': '/' },
});
// There is one thread. The standard library names these functions, and an old C library does not have them.
const unsupported = () => 58;
const threads = { pthread_join: unsupported, pthread_detach: unsupported };
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, { ...wasi.getImportObject(), env: threads });
process.exitCode = wasi.start(instance);
