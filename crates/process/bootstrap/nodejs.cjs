// Runs a Node.js function: loads its handler, asks the Runtime API for events, answers them.
//
// Standard library alone, Node.js 18 and later. CommonJS, because that loads faster than a module, and
// `node:net` instead of `node:http` for the same reason. Wordings, log formats and the order in which a
// handler's file is looked for are Lambda's (source: aws-lambda-ric 4.0.2; exit codes: 3.x).
//
// Started with `UPDRAFT_AWAITS_ASSIGNMENT` in its environment it goes as far as it can without a function, loads what
// handlers commonly use, and waits to be told the rest. Each such process serves one function.
'use strict';

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { format } = require('node:util');

const TASK_ROOT = '/var/task';
const LAYERS_ROOT = '/opt';
// The platform's folder in a package or in layers (`compile.cjs`).
const COMPILED = `.updraft-node-${process.versions.node}`;
const AWAITS = 'UPDRAFT_AWAITS_ASSIGNMENT';
const API = process.env[AWAITS] ?? process.env.AWS_LAMBDA_RUNTIME_API;
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const STREAMING_WATERMARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const HTTP_INTEGRATION = 'application/vnd.awslambda.http-integration-response';
// A reply up to this size travels in one write with the request for the next event.
const PIPELINED_BYTES_MAX = 32 * 1024;
const EXIT_UNHANDLED_REJECTION = 128;
const EXIT_UNCAUGHT_EXCEPTION = 129;

// The invocation being worked on: { id, extra, settled, onIdle, stream }.
let current = null;

// Errors that the runtime itself names.
class Fault extends Error {
  constructor(name, message, stack) {
    super(message);
    this.name = name;
    if (stack !== undefined) this.stack = stack;
  }
}

// Errors of any kind, also from another realm.
function isError(value) {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';
}

function describe(error) {
  try {
    if (isError(error)) {
      return {
        errorType: String(error.name ?? 'Error'),
        errorMessage: String(error.message),
        trace: String(error.stack ?? '').split('\n'),
      };
    }
    const isObject = typeof error === 'object' && error !== null;
    return { errorType: typeof error, errorMessage: isObject ? format('%j', error) : String(error), trace: [] };
  } catch {
    return { errorType: 'handled', errorMessage: 'callback called with Error argument, but there was a problem '
      + 'while retrieving one or more of its message, name, and stack', trace: [] };
  }
}

// Logs

function writeOut(text) {
  let bytes = Buffer.from(text, 'utf8');
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(fs.writeSync(1, bytes));
    } catch (error) {
      if (error.code === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else return;
    }
  }
}

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
// Set when the function is known.
let isJsonLog = false;

function log(level, parts) {
  if (isJsonLog) {
    writeOut(`${jsonLine(level, parts).replace(/\n/g, '\r')}\n`);
    return;
  }
  writeOut(`${new Date().toISOString()}\t${current?.id}\t${level}\t${format(...parts)}\n`);
}

function stackOf(error) {
  return typeof error.stack === 'string' ? error.stack.split('\n') : [];
}

function jsonLine(level, [message, ...more]) {
  const entry = { timestamp: new Date().toISOString(), level, requestId: current?.id, message };
  if (more.length === 0) {
    const replace = (_, value) => (value instanceof Error ? {
      errorType: value.constructor?.name ?? 'UnknownError', errorMessage: value.message, stackTrace: stackOf(value), ...value,
    } : value);
    try {
      return JSON.stringify(entry, replace);
    } catch {
      return JSON.stringify({ ...entry, message: format(message) });
    }
  }
  entry.message = format(message, ...more);
  const error = more.find((part) => part instanceof Error);
  if (error !== undefined) {
    entry.errorType = error.constructor?.name ?? 'UnknownError';
    entry.errorMessage = error.message;
    entry.stackTrace = stackOf(error);
  }
  return JSON.stringify(entry);
}

function setUpConsole() {
  isJsonLog = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
  const least = LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase());
  const methods = { trace: 'TRACE', debug: 'DEBUG', info: 'INFO', log: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };
  for (const [method, level] of Object.entries(methods)) {
    console[method] = LEVELS.indexOf(level) < least ? () => {} : (...parts) => log(level, parts);
  }
}

function logError(title, error) {
  if (isJsonLog) {
    log('ERROR', [isError(error) ? error : new Error(format('%s', error))]);
    return;
  }
  const { errorType, errorMessage, trace } = describe(error);
  let extra = {};
  if (isError(error)) {
    try {
      extra = JSON.parse(JSON.stringify({ ...error }));
    } catch {
      // Fields that JSON can't hold are left out.
    }
  }
  log('ERROR', ['%s', `${title} \t${JSON.stringify({ errorType, errorMessage, ...extra, stack: trace })}`]);
}

// Runtime API: one kept-alive connection, one answer awaited at a time.

class RuntimeApi {
  constructor(address) {
    const colon = address.lastIndexOf(':');
    this.peer = { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
    this.address = address;
    this.nextRequest = `GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: ${address}\r\n\r\n`;
    this.socket = null;
    this.waiting = [];
    this.unread = [];
    this.unreadBytes = 0;
    this.wantedBytes = 0;
  }

  connect() {
    if (this.socket !== null) return this.socket;
    const socket = net.connect({ ...this.peer, noDelay: true });
    this.socket = socket;
    this.unread = [];
    this.unreadBytes = 0;
    this.wantedBytes = 0;
    socket.on('data', (piece) => {
      this.unread.push(piece);
      this.unreadBytes += piece.length;
      while (this.unreadBytes >= this.wantedBytes && this.unreadBytes > 0 && this.readOne());
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.socket !== socket) return;
      this.socket = null;
      const waiting = this.waiting;
      this.waiting = [];
      for (const { reject } of waiting) reject(new Error('the platform closed the connection'));
    });
    return socket;
  }

  // Takes one whole response off what has arrived; false when there is none yet.
  readOne() {
    const data = this.unread.length === 1 ? this.unread[0] : Buffer.concat(this.unread);
    this.unread = [data];
    const headEnd = data.indexOf('\r\n\r\n');
    if (headEnd < 0) return false;
    const lines = data.latin1Slice(0, headEnd).split('\r\n');
    const headers = { ':status': lines[0].split(' ')[1] };
    for (let index = 1; index < lines.length; index += 1) {
      const colon = lines[index].indexOf(':');
      headers[lines[index].slice(0, colon).toLowerCase()] = lines[index].slice(colon + 1).trim();
    }
    const end = headEnd + 4 + Number(headers['content-length'] ?? 0);
    this.wantedBytes = end;
    if (data.length < end) return false;
    this.wantedBytes = 0;
    this.unread = end === data.length ? [] : [data.subarray(end)];
    this.unreadBytes = data.length - end;
    this.waiting.shift()?.resolve({ headers, body: data.subarray(headEnd + 4, end) });
    return true;
  }

  expect() {
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  // The next event. A connection that has gone stale is made anew once.
  async next() {
    if (this.socket !== null) {
      try {
        this.socket.write(this.nextRequest);
        return await this.event(this.expect());
      } catch {
        this.drop();
      }
    }
    this.connect().write(this.nextRequest);
    return this.event(this.expect());
  }

  async event(expected) {
    const response = await expected;
    if (response.headers[':status'] !== '200') throw new Error('the platform refuses to hand out events');
    return response;
  }

  drop() {
    this.socket?.destroy();
    this.socket = null;
    this.waiting = [];
  }

  head(where, contentType, extra) {
    return `POST /2018-06-01/runtime/${where} HTTP/1.1\r\nHost: ${this.address}\r\nContent-Type: ${contentType}\r\n${extra}`;
  }

  // Posts and waits for the answer.
  async post(where, body, extra) {
    const bytes = Buffer.from(body);
    const head = `${this.head(where, 'application/json', extra)}Content-Length: ${bytes.length}\r\n\r\n`;
    this.connect().write(Buffer.concat([Buffer.from(head, 'latin1'), bytes]));
    return this.expect();
  }

  // Posts an invocation's answer and returns the next event.
  async answer(where, body, extra) {
    try {
      const bytes = Buffer.from(body);
      const head = `${this.head(where, 'application/json', extra)}Content-Length: ${bytes.length}\r\n\r\n`;
      const socket = this.connect();
      if (bytes.length <= PIPELINED_BYTES_MAX) {
        socket.write(Buffer.concat([Buffer.from(head, 'latin1'), bytes, Buffer.from(this.nextRequest, 'latin1')]));
        const accepted = this.expect();
        const next = this.event(this.expect());
        await Promise.all([accepted, next]);
        return await next;
      }
      socket.write(head, 'latin1');
      socket.write(bytes);
      await this.expect();
    } catch {
      // Refusing a body that is too large, the platform may hang up on the rest of it.
      this.drop();
    }
    return this.next();
  }
}

const api = new RuntimeApi(API);

// Response streaming

let ResponseStream = null;

// Made when first needed: it is a class of `node:stream`.
function responseStreamClass() {
  ResponseStream ??= class extends require('node:stream').Writable {
    constructor(invocation, options) {
      super(options);
      this.invocation = invocation;
      this.contentType = 'application/octet-stream';
      this.isStarted = false;
      this.isBroken = false;
      this.accepted = null;
      this.finished = new Promise((resolve, reject) => {
        this.once('finish', resolve);
        this.once('error', reject);
      });
      this.finished.catch(() => {});
    }

    setContentType(contentType) {
      if (this.isStarted) throw new Fault('Runtime.InvalidStreamingOperation', 'Cannot set content-type, too late.');
      this.contentType = contentType;
    }

    write(chunk, encoding, callback) {
      const isBytes = typeof chunk === 'string' || chunk instanceof Uint8Array;
      return super.write(isBytes ? chunk : JSON.stringify(chunk), encoding, callback);
    }

    start() {
      if (this.isStarted) return '';
      this.isStarted = true;
      this.accepted = api.expect();
      this.accepted.catch(() => {});
      const extra = 'Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n'
        + `Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n${this.invocation.extra}\r\n`;
      const head = api.head(`invocation/${this.invocation.id}/response`, this.contentType, extra);
      let prelude = Buffer.alloc(0);
      this._onBeforeFirstWrite?.((piece) => {
        prelude = Buffer.concat([prelude, Buffer.from(piece)]);
      });
      const first = prelude.length > 0 ? this.chunk(prelude) : '';
      return head + (typeof first === 'string' ? first : first.toString('latin1'));
    }

    chunk(bytes) {
      return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
    }

    _write(chunk, encoding, callback) {
      if (this.isBroken) {
        callback();
        return;
      }
      const head = Buffer.from(this.start(), 'latin1');
      const bytes = chunk.length > 0 ? this.chunk(Buffer.from(chunk)) : Buffer.alloc(0);
      if (head.length + bytes.length === 0) callback();
      else api.connect().write(Buffer.concat([head, bytes]), callback);
    }

    _final(callback) {
      if (this.isBroken) {
        callback();
        return;
      }
      const head = this.start();
      api.connect().write(Buffer.from(`${head}0\r\n\r\n`, 'latin1'), callback);
    }

    // Ends a stream that has begun with the error in its trailers.
    breakOff(error) {
      this.isBroken = true;
      const report = describe(error);
      const body = Buffer.from(JSON.stringify(report)).toString('base64');
      api.connect().write(`0\r\nLambda-Runtime-Function-Error-Type: ${headerText(report.errorType)}\r\n`
        + `Lambda-Runtime-Function-Error-Body: ${body}\r\n\r\n`);
    }
  };
  return ResponseStream;
}

globalThis.awslambda = {
  ...globalThis.awslambda,
  streamifyResponse(handler, options) {
    handler[STREAMING] = 'response';
    if (typeof options?.highWaterMark === 'number') handler[STREAMING_WATERMARK] = options.highWaterMark;
    return handler;
  },
  HttpResponseStream: {
    from(stream, prelude) {
      stream.setContentType(HTTP_INTEGRATION);
      stream._onBeforeFirstWrite = (write) => {
        write(JSON.stringify(prelude));
        write(new Uint8Array(8));
      };
      return stream;
    },
  },
};

// Loading the function

// A version of Node.js in which this does not work compiles all modules itself.
function loadCompiled() {
  try {
    return require('./compiled.cjs');
  } catch {
    return undefined;
  }
}

// Modules that were compiled when the package or its layers were deployed are not compiled again.
function takeCompiled() {
  const roots = [TASK_ROOT, LAYERS_ROOT].filter((root) => fs.existsSync(path.join(root, COMPILED)));
  if (roots.length > 0) loadCompiled()?.take(roots, COMPILED);
}

function isModuleScope(file) {
  for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(directory, 'package.json'), 'utf8')).type === 'module';
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') return false;
    }
    if (directory === path.dirname(directory) || path.basename(directory) === 'node_modules') return false;
  }
}

async function loadFile(file) {
  const isModule = file.endsWith('.mjs') || (file.endsWith('.js') && isModuleScope(file));
  return isModule ? import(require('node:url').pathToFileURL(file).href) : require(file);
}

async function loadModule(moduleRoot, moduleName) {
  const base = path.resolve(TASK_ROOT, moduleRoot, moduleName);
  try {
    for (const extension of ['', '.js', '.mjs', '.cjs']) {
      const file = base + extension;
      if (fs.statSync(file, { throwIfNoEntry: false })?.isFile()) return await loadFile(file);
    }
    return require(require.resolve(moduleName, { paths: [TASK_ROOT, path.join(TASK_ROOT, moduleRoot)] }));
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault('Runtime.UserCodeSyntaxError', String(error), error.stack);
    if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') {
      throw new Fault('Runtime.ImportModuleError', String(error));
    }
    throw error;
  }
}

function findIn(names, module) {
  return names.split('.').reduce((value, name) => (
    value !== null && (typeof value === 'object' || typeof value === 'function') ? value[name] : undefined), module);
}

async function loadHandler(text) {
  if (text.includes('..')) {
    throw new Fault('Runtime.MalformedHandlerName', `'${text}' is not a valid handler name. `
      + 'Use absolute paths when specifying root directories in handler names.');
  }
  const file = path.basename(text);
  const match = /^([^.]*)\.(.*)$/.exec(file);
  if (match === null) throw new Fault('Runtime.MalformedHandlerName', 'Bad handler');
  const module = await loadModule(text.slice(0, text.length - file.length), match[1]);
  const handler = findIn(match[2], module) ?? findIn(match[2], module?.default);
  if (!handler) throw new Fault('Runtime.HandlerNotFound', `${text} is undefined or not exported`);
  if (typeof handler !== 'function') throw new Fault('Runtime.HandlerNotFound', `${text} is not a function`);
  if (handler[STREAMING] !== undefined && handler[STREAMING] !== 'response') {
    throw new Fault('Runtime.MalformedStreamingHandler', 'Only response streaming is supported.');
  }
  return handler;
}

// Running it

function headerText(text) {
  return String(text).replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
}

function errorHeader(report) {
  return `Lambda-Runtime-Function-Error-Type: ${headerText(report.errorType)}\r\n`;
}

function headerJson(text) {
  return text ? JSON.parse(Buffer.from(text, 'latin1').toString('utf8')) : undefined;
}

function makeContext(headers) {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: headerJson(headers['lambda-runtime-client-context']),
    identity: headerJson(headers['lambda-runtime-cognito-identity']),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
  };
}

function stringify(result) {
  let text;
  try {
    text = JSON.stringify(result === undefined ? null : result);
  } catch {
    throw new Fault('Runtime.JSONStringifyError', 'Unable to stringify response body');
  }
  return text === undefined ? 'null' : text;
}

// The value of a handler that returns a promise or takes a callback. Resolves with null when nothing is left to
// run and there still is no answer.
function runBuffered(handler, event, context, invocation) {
  return new Promise((resolve, reject) => {
    const settle = (error, result) => {
      const isFailure = error !== null && error !== undefined;
      if (isFailure || !context.callbackWaitsForEmptyEventLoop) {
        if (isFailure) reject(error);
        else resolve(result);
      } else {
        invocation.onIdle = () => resolve(result);
      }
    };
    invocation.onIdle = () => resolve(null);
    context.done = (error, result) => {
      context.callbackWaitsForEmptyEventLoop = false;
      settle(error, result);
    };
    context.succeed = (result) => context.done(null, result);
    context.fail = (error) => context.done(error ?? 'handled');
    try {
      const result = handler(event, context, settle);
      if (typeof result?.then === 'function') result.then(resolve, reject);
    } catch (error) {
      reject(error);
    }
  });
}

async function runStreaming(handler, event, context, invocation) {
  const stream = new (responseStreamClass())(invocation, { highWaterMark: handler[STREAMING_WATERMARK] });
  invocation.stream = stream;
  const isIdle = new Promise((resolve, reject) => {
    invocation.onIdle = () => reject(new Error('Response stream is not finished.'));
  });
  const result = handler(event, stream, context);
  if (typeof result?.then !== 'function') throw new Error('Streaming does not support non-async handlers.');
  await Promise.race([result, isIdle]);
  await Promise.race([stream.finished, isIdle]);
}

async function work(handler, { headers, body }) {
  const nonce = headers['lambda-runtime-invocation-id'];
  const extra = nonce ? `Lambda-Runtime-Invocation-Id: ${nonce}\r\n` : '';
  const invocation = { id: headers['lambda-runtime-aws-request-id'], extra, onIdle: null, stream: null };
  current = invocation;
  if (headers['lambda-runtime-trace-id']) process.env._X_AMZN_TRACE_ID = headers['lambda-runtime-trace-id'];
  else delete process.env._X_AMZN_TRACE_ID;
  let where = `invocation/${invocation.id}/response`;
  let answer;
  let more = extra;
  // While the handler works only its own business keeps the event loop alive.
  api.socket?.unref();
  try {
    const event = JSON.parse(body.toString('utf8'));
    const context = makeContext(headers);
    if (handler[STREAMING] === 'response') {
      await runStreaming(handler, event, context, invocation);
    } else {
      answer = stringify(await runBuffered(handler, event, context, invocation));
    }
  } catch (error) {
    logError('Invoke Error', error);
    if (invocation.stream?.isStarted) {
      // One that the handler has ended is whole; the failure came after it.
      if (!invocation.stream.writableEnded) invocation.stream.breakOff(error);
    } else {
      const report = describe(error);
      where = `invocation/${invocation.id}/error`;
      answer = JSON.stringify(report);
      more += errorHeader(report);
    }
  }
  invocation.onIdle = null;
  api.connect().ref();
  if (answer !== undefined) return api.answer(where, answer, more);
  try {
    await invocation.stream.accepted;
  } catch {
    // The next event is asked for on a new connection.
  }
  return api.next();
}

async function dieOf(title, error, report, code) {
  logError(title, error);
  const where = current === null ? 'init/error' : `invocation/${current.id}/error`;
  const extra = (current?.extra ?? '') + errorHeader(report);
  try {
    // A connection of its own: the other may be in the middle of a stream.
    const last = new RuntimeApi(API);
    await last.post(where, JSON.stringify(report), extra);
  } finally {
    process.exit(code);
  }
}

process.on('beforeExit', () => current?.onIdle?.());
process.on('unhandledRejection', (reason) => {
  const error = new Fault('Runtime.UnhandledPromiseRejection', format('%s', isError(reason) ? `${reason.name}: ${reason.message}` : reason));
  if (isError(reason)) error.stack = `${error.name}: ${error.message}\n${String(reason.stack).split('\n').slice(1).join('\n')}`;
  dieOf('Unhandled Promise Rejection', error, describe(error), EXIT_UNHANDLED_REJECTION);
});
process.on('uncaughtException', (error) => {
  dieOf('Uncaught Exception', error, describe(error), EXIT_UNCAUGHT_EXCEPTION);
});

// Prewarming

// What handlers and the clients of services use most. A package cannot shadow them: built-in modules go first.
const COMMON_MODULES = ['stream', 'events', 'buffer', 'url', 'util', 'crypto', 'http', 'https', 'zlib', 'os',
  'querystring', 'string_decoder', 'assert', 'child_process', 'async_hooks', 'fs/promises', 'timers/promises'];

async function loadCommonModules() {
  for (const name of COMMON_MODULES) require(`node:${name}`);
  loadCompiled();
  await import('node:module'); // Sets up the loader of modules.
}

// Waits for the function: its environment and directory, as JSON on standard input, up to the end of it. Blocks, so
// nothing else runs meanwhile.
function awaitAssignment() {
  const pieces = [];
  const piece = Buffer.alloc(65536);
  for (;;) {
    const length = fs.readSync(0, piece, 0, piece.length, null);
    if (length === 0) break;
    pieces.push(Buffer.from(piece.subarray(0, length)));
  }
  if (pieces.length === 0) process.exit(0); // There will be none.
  fs.closeSync(0);
  fs.openSync('/dev/null', 'r'); // The lowest number free: standard input again.
  const assignment = JSON.parse(Buffer.concat(pieces).toString('utf8'));
  delete process.env[AWAITS];
  for (const [name, value] of Object.entries(assignment.environment)) {
    // Setting TZ makes V8 look for its time zones again, which takes longer than all the rest.
    if (process.env[name] !== value) process.env[name] = value;
  }
  process.chdir(assignment.directory);
}

async function prewarm() {
  await loadCommonModules();
  // To the platform this connection says that all is ready.
  await new Promise((resolve, reject) => api.connect().once('connect', resolve).once('error', reject));
  awaitAssignment();
  // While the function loads only its own business keeps the event loop alive.
  api.socket.unref();
}

async function main() {
  if (AWAITS in process.env) await prewarm();
  setUpConsole();
  let handler;
  try {
    takeCompiled();
    handler = await loadHandler(process.env._HANDLER ?? '');
  } catch (error) {
    const report = describe(error);
    logError('Uncaught Exception', error);
    api.socket?.ref();
    await api.post('init/error', JSON.stringify(report), errorHeader(report));
    process.exit(1);
  }
  try {
    api.socket?.ref();
    let request = await api.next();
    for (;;) request = await work(handler, request);
  } catch {
    process.exit(1); // The platform is gone.
  }
}

main();
