// Compiles the CommonJS modules below a directory ahead of their first `require`; the platform writes the results into a
// folder of its own there, where `compiled.cjs` looks for them.
//
// Runs in a sandbox of its own, because the parser meets bytes that nobody vouches for. Compiling executes nothing of them.
// Each result leaves on standard output as two lengths, the module's path below the directory, and the file's content:
// V8's code, and a checksum of that and its source. What cannot be had has an empty file, so that it is not tried again.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const { crc32 } = require('node:zlib');

const ROOT = process.argv[2];
const COMPILED = path.join(ROOT, `.updraft-node-${process.versions.node}`);
const SOURCE_BYTES_MIN = 1024;
const SOURCE_BYTES_MAX = 16 * 1024 * 1024;
const PARAMETERS = ['exports', 'require', 'module', '__filename', '__dirname'];
const OPTIONS = { importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER };
// Whatever may become an `import()`, be it in a text or a comment.
const IMPORTING = /\bimport\b\s*[(/]/;

// Whether code that was kept can still import. V8 kept too much of it before version 12.
async function canImport() {
  const [kept, other] = ['return import("node:path")', 'return import("node:util")'];
  const { cachedData } = vm.compileFunction(kept, [], { ...OPTIONS, produceCachedData: true });
  try {
    await vm.compileFunction(other, [], { ...OPTIONS, cachedData })();
    return true;
  } catch {
    return false;
  }
}

function numbers(...values) {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => bytes.writeUInt32BE(value, 4 * index));
  return bytes;
}

function write(...parts) {
  for (let rest = Buffer.concat(parts); rest.length > 0;) rest = rest.subarray(fs.writeSync(1, rest));
}

function compile(file, keepsImports) {
  const source = fs.readFileSync(file, 'utf8');
  if (!keepsImports && IMPORTING.test(source)) return Buffer.alloc(0);
  try {
    // Functions inside are compiled when they are called. Had they been compiled here, traces would show other names.
    const options = { ...OPTIONS, filename: file, produceCachedData: true };
    const { cachedData } = vm.compileFunction(source, PARAMETERS, options);
    return Buffer.concat([cachedData, numbers(crc32(source, crc32(cachedData)))]);
  } catch {
    return Buffer.alloc(0); // Whoever loads it is told what is wrong with it, if anything is.
  }
}

async function main() {
  const keepsImports = await canImport();
  const directories = [ROOT];
  // What lies high is loaded first.
  while (directories.length > 0) {
    const directory = directories.shift();
    for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
      const file = path.join(directory, entry.name);
      if (entry.isDirectory() && file !== COMPILED) directories.push(file);
      if (!entry.isFile() || !/\.c?js$/.test(entry.name)) continue;
      const { size } = fs.statSync(file);
      const inside = path.relative(ROOT, file);
      const name = `${inside.replaceAll('%', '%25').replaceAll('/', '%2F')}.code`;
      if (size < SOURCE_BYTES_MIN || size > SOURCE_BYTES_MAX || fs.existsSync(path.join(COMPILED, name))) continue;
      const content = compile(file, keepsImports);
      write(numbers(Buffer.byteLength(inside), content.length), Buffer.from(inside), content);
    }
  }
}

main();
