// Has Node.js take CommonJS modules that were compiled ahead (`compile.cjs`), where their source is the one they were
// compiled from. Everything else, and what V8 refuses, it compiles itself.
//
// What runs is V8's code for the same text, compiled as Node.js itself does. V8's own check, of versions and the
// source's length, is not enough: packages may change sources while they load them, so a checksum covers source and code.
'use strict';

const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const vm = require('node:vm');
const { crc32 } = require('node:zlib');

// Smaller modules are compiled as fast as a file is read.
const SOURCE_MIN = 1024;
const PARAMETERS = ['exports', 'require', 'module', '__filename', '__dirname'];
// Where the flags of the process stand in the header of V8's code. Were it elsewhere in another version, V8 would refuse
// what is put there.
const FLAGS_START = 12;
const FLAGS_END = 16;

const { readFileSync } = fs;
const compileItself = Module.prototype._compile;
const wrapping = Module.wrap('');
// With this, `import()` works as anywhere else.
const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
const sample = vm.compileFunction('', PARAMETERS, { produceCachedData: true });
const flags = sample.cachedData.subarray(FLAGS_START, FLAGS_END);
const mark = findMark();

// How newer versions mark a module that is running.
function findMark() {
  const probe = new Module('probe');
  Reflect.apply(compileItself, probe, ['', 'probe', 'commonjs']);
  return Object.getOwnPropertySymbols(probe).find((symbol) => symbol.description === 'kIsExecuting');
}

// The loader of `import()` is said to be experimental in newer versions; the author has used nothing of that.
function beSilent() {
  const { emitWarning } = process;
  process.emitWarning = function (warning, ...details) {
    if (!String(warning).startsWith('vm.USE_MAIN_CONTEXT_DEFAULT_LOADER')) emitWarning.call(this, warning, ...details);
  };
}

// Whether V8's flags are those that every function has: sizes of the heap, on which no code depends.
function hasCommonFlags() {
  return !process.env.NODE_OPTIONS && !process.env.NODE_V8_COVERAGE
    && process.execArgv.every((flag) => /^--max-(semi|old)-space-size=/.test(flag));
}

// A module's `require`, as Node.js makes it, which takes too long for each of many modules.
function requireOf(module, filename) {
  let made;
  function own() {
    if (made === undefined) {
      const isRunning = module[mark];
      made = Reflect.apply(compileItself, module, ['return require', filename, 'commonjs']);
      if (mark !== undefined) module[mark] = isRunning;
    }
    return made;
  }
  function require(id) {
    return module.require(id);
  }
  function resolve(request, options) {
    return own().resolve(request, options);
  }
  resolve.paths = function paths(request) {
    return own().resolve.paths(request);
  };
  require.resolve = resolve;
  require.main = process.mainModule;
  require.extensions = Module._extensions;
  require.cache = Module._cache;
  return require;
}

// Below each of `roots` a folder `compiled` holds the code of the modules there.
exports.take = function take(roots, compiled) {
  if (importModuleDynamically === undefined || crc32 === undefined || !hasCommonFlags()) return;
  let isRefused = false;
  beSilent();

  function codeOf(source, filename) {
    const root = roots.find((one) => filename.startsWith(`${one}/`));
    if (root === undefined || source.length < SOURCE_MIN) return undefined;
    const name = filename.slice(root.length + 1).replaceAll('%', '%25').replaceAll('/', '%2F');
    try {
      const file = readFileSync(`${root}/${compiled}/${name}.code`);
      const code = file.subarray(0, -4);
      if (code.length < FLAGS_END || crc32(source, crc32(code)) !== file.readUInt32BE(code.length)) return undefined;
      flags.copy(code, FLAGS_START);
      return code;
    } catch {
      return undefined; // There is none.
    }
  }

  function compile(source, filename) {
    // Maps of sources, and a wrapping of the author's, are Node.js's own business.
    if (isRefused || process.sourceMapsEnabled || Module.wrap('') !== wrapping) return undefined;
    const cachedData = codeOf(source, filename);
    if (cachedData === undefined) return undefined;
    const run = vm.compileFunction(source, PARAMETERS, { filename, cachedData, importModuleDynamically });
    // Then it would be the next one too.
    isRefused = run.cachedDataRejected;
    return run;
  }

  Module.prototype._compile = function _compile(source, filename, format) {
    const run = format === undefined || format === 'commonjs' ? compile(source, filename) : undefined;
    if (run === undefined) return Reflect.apply(compileItself, this, arguments);
    if (mark !== undefined) this[mark] = true;
    const parameters = [this.exports, requireOf(this, filename), this, filename, path.dirname(filename)];
    const result = Reflect.apply(run, this.exports, parameters);
    if (mark !== undefined) this[mark] = false;
    return result;
  };
};
