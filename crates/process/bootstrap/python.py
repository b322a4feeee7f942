"""Runs a Python function: loads its handler, asks the Runtime API for events, answers them.

Standard library alone, Python 3.8 and later. A cold start pays for everything imported here, so this file
speaks HTTP over a bare socket, reads JSON with the C scanner that `json` wraps, formats stack traces itself,
and touches `logging` only once the function has imported it.

Started with `UPDRAFT_AWAITS_ASSIGNMENT` in its environment it goes as far as it can without a function, imports what
handlers commonly import, and waits to be told the rest. Each such process serves one function and is a process start
of its own, so that hash seeds and whatever else is drawn at random are nobody else's.

Started with `UPDRAFT_SNAPSHOT` it loads its function, runs the hooks of `snapshot_restore_py`, lets go of its connection
and waits at its standard input, where it is stopped for good. What goes on from there is copies of it, each in a sandbox of
its own, which are told what is theirs.

Wordings and log formats are Lambda's (source: awslambdaric 4.2.2).
"""

import os
import sys
import time

import _socket

TASK_ROOT = "/var/task"
AWAITS = "UPDRAFT_AWAITS_ASSIGNMENT"
SNAPSHOT = "UPDRAFT_SNAPSHOT"
HERE = (lambda: None).__code__.co_filename
# A reply up to this size travels in one write with the request for the next event.
PIPELINED_BYTES_MAX = 32 * 1024
STACK_FRAMES_MAX = 200

request_id = None


class Fault(Exception):
    """A failure that the runtime itself names."""

    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = list(trace)


# JSON


class _ScannerRules:
    """What `_json.make_scanner` reads from a decoder; the defaults of `json.loads`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name):
        return {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}[name]


try:
    import _json

    _scan = _json.make_scanner(_ScannerRules)
except Exception:
    _json = _scan = None


def parse_json(text):
    if _scan is not None:
        try:
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except Exception:
            pass  # The module below knows whitespace, and the words for what is wrong.
    import json

    return json.loads(text)


def _json_default(value):
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        if value.is_finite() and value == value.to_integral_value():
            return int(value)
        return float(value)
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def _make_encoder(is_ascii):
    if _json is not None:
        try:
            text = _json.encode_basestring_ascii if is_ascii else _json.encode_basestring
            encode = _json.make_encoder({}, _json_default, text, None, ": ", ", ", False, False, True)
            return lambda value: "".join(encode(value, 0))
        except Exception:
            pass
    import json

    return json.JSONEncoder(ensure_ascii=is_ascii, default=_json_default).encode


# Since 3.12 Lambda leaves letters beyond ASCII as they are.
def is_ascii():
    return os.environ.get("AWS_EXECUTION_ENV", "") in ("AWS_Lambda_python3.%d" % minor for minor in range(6, 12))


_encode = None


def to_json(value):
    global _encode
    if _encode is None:
        _encode = _make_encoder(is_ascii())
    try:
        return _encode(value).encode()
    except BaseException:
        _encode = None  # It may hold marks of the values it was inside of.
        raise


# Runtime API


class RuntimeApi:
    """One kept-alive connection to `AWS_LAMBDA_RUNTIME_API`."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._peer = (host, int(port))
        self._host = address.encode()
        self._socket = None
        self._unread = b""
        self._next = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n" % self._host

    def open(self):
        try:
            self.connect()
        except OSError:
            self._socket = None  # The first request tries again, and says so if that fails.

    def connect(self):
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._socket.connect(self._peer)
        self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._unread = b""

    def _close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _receive(self):
        """One response: its headers and body. OSError when the connection ends first."""
        data = self._unread
        while True:
            head_end = data.find(b"\r\n\r\n")
            if head_end >= 0:
                break
            piece = self._socket.recv(65536)
            if not piece:
                raise OSError("the platform closed the connection")
            data += piece
        lines = data[:head_end].decode("latin-1").split("\r\n")
        headers = {":status": lines[0].split(" ")[1]}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        start = head_end + 4
        end = start + int(headers.get("content-length", 0))
        if len(data) < end:
            body = bytearray(end - start)
            have = len(data) - start
            body[:have] = data[start:]
            view = memoryview(body)
            while have < len(body):
                count = self._socket.recv_into(view[have:])
                if not count:
                    raise OSError("the platform closed the connection")
                have += count
            self._unread = b""
        else:
            body = data[start:end]
            self._unread = data[end:]
        if headers.get("connection") == "close":
            self._close()
        return headers, body

    def next(self):
        """The next event. A connection that has gone stale is made anew once."""
        if self._socket is not None:
            try:
                self._socket.sendall(self._next)
                return self._event()
            except OSError:
                self._close()
        self.connect()
        self._socket.sendall(self._next)
        return self._event()

    def restore_next(self):
        """Says that all is loaded, and lets go of the connection."""
        if self._socket is None:
            self.connect()
        self._socket.sendall(b"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: %s\r\n\r\n" % self._host)
        self._receive()
        self._close()

    def _event(self):
        headers, body = self._receive()
        if headers[":status"] != "200":
            raise OSError("the platform refuses to hand out events")
        return headers, body

    def post(self, path, body, content_type="application/json", extra=""):
        """Posts and waits for the answer."""
        if self._socket is None:
            self.connect()
        self._send(path, body, content_type, extra, b"")
        self._receive()

    def answer(self, path, body, content_type, extra):
        """Posts an invocation's answer and returns the next event."""
        try:
            if len(body) <= PIPELINED_BYTES_MAX:
                self._send(path, body, content_type, extra, self._next)
                self._receive()
                if self._socket is not None:
                    return self._event()
            else:
                self._send(path, body, content_type, extra, b"")
                self._receive()
        except OSError:
            # Refusing a body that is too large, the platform may hang up on the rest of it.
            self._close()
        return self.next()

    def _send(self, path, body, content_type, extra, following):
        head = "POST /2018-06-01/runtime/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (
            path,
            self._host.decode(),
            content_type,
            len(body),
            extra,
        )
        head = head.encode("latin-1", "replace")
        if len(body) <= PIPELINED_BYTES_MAX:
            self._socket.sendall(head + body + following)
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)


# Context


class _Record:
    """An object with the named fields of a dictionary, None where it lacks one."""

    _fields = ()

    def __init__(self, values):
        for field in self._fields:
            setattr(self, field, values.get(field))

    def __repr__(self):
        return "%s([%s])" % (
            type(self).__name__,
            ",".join("%s=%s" % (field, getattr(self, field)) for field in self._fields),
        )


class CognitoIdentity(_Record):
    _fields = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(_Record):
    _fields = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(_Record):
    _fields = ("custom", "env", "client")


def _parse_header(headers, name, title):
    text = headers.get(name)
    if not text:
        return None
    try:
        return parse_json(text.encode("latin-1").decode())
    except Exception as error:
        raise Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (title, error))


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, headers):
        environment = os.environ
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id")
        self.log_group_name = environment.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environment.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environment.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environment.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        client = _parse_header(headers, "lambda-runtime-client-context", "Client Context")
        self.client_context = None
        if isinstance(client, dict):
            self.client_context = ClientContext(client)
            if isinstance(self.client_context.client, dict):
                self.client_context.client = Client(self.client_context.client)
        identity = _parse_header(headers, "lambda-runtime-cognito-identity", "Cognito Identity")
        self.identity = CognitoIdentity({})
        if isinstance(identity, dict):
            self.identity.cognito_identity_id = identity.get("cognitoIdentityId")
            self.identity.cognito_identity_pool_id = identity.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = int(headers.get("lambda-runtime-deadline-ms", 0))

    def get_remaining_time_in_millis(self):
        return max(self._epoch_deadline_time_in_ms - int(time.time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))

    def __repr__(self):
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return "LambdaContext([%s])" % ",".join("%s=%s" % item for item in shown.items())


# Errors


def _stack_trace(trace):
    """The frames of a traceback from the function's first one on, as `traceback.format_list` writes them."""
    frames = []
    while trace is not None:
        frames.append((trace.tb_frame.f_code, trace.tb_lineno))
        trace = trace.tb_next
    while frames and frames[0][0].co_filename == HERE:
        del frames[0]
    if len(frames) > STACK_FRAMES_MAX:
        half = STACK_FRAMES_MAX // 2
        frames[half:-half] = []
    sources = {}
    written = []
    for code, line_number in frames:
        if code.co_filename not in sources:
            try:
                with open(code.co_filename, encoding="utf-8", errors="replace") as file:
                    sources[code.co_filename] = file.read().split("\n")
            except (OSError, ValueError):
                sources[code.co_filename] = []
        lines = sources[code.co_filename]
        text = '  File "%s", line %s, in %s\n' % (code.co_filename, line_number, code.co_name)
        if line_number and line_number <= len(lines) and lines[line_number - 1].strip():
            text += "    %s\n" % lines[line_number - 1].strip()
        written.append(text)
    return written


def describe(error):
    """The error as Lambda reports it."""
    if isinstance(error, Fault):
        error_type, message, trace = error.error_type, error.message, error.trace
    else:
        error_type = type(error).__name__
        try:
            message = str(error)
        except Exception:
            message = ""
        trace = _stack_trace(error.__traceback__)
    return {"errorMessage": message, "errorType": error_type, "requestId": request_id or "", "stackTrace": trace}


def is_json_log():
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def log_error(report):
    if is_json_log():
        entry = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "ERROR"}
        entry.update(report)
        write_out(encode_report(entry).decode() + "\n")
        return
    head = "[ERROR] " + report["errorType"]
    if report["errorMessage"]:
        head += ": " + report["errorMessage"]
    lines = [head, "Traceback (most recent call last):"]
    lines += [line.rstrip("\n") for line in report["stackTrace"]]
    write_out("\n".join(lines) + "\n")


def write_out(text):
    try:
        sys.stdout.write(text)
    except UnicodeError:
        sys.stdout.write(text.encode("utf-8", "backslashreplace").decode())


def encode_report(report):
    try:
        return _make_encoder(True)(report).encode()
    except Exception as error:
        return b'{"errorMessage": "the error could not be reported: %s", "errorType": "Unhandled"}' % (
            type(error).__name__.encode("ascii", "replace")
        )


def error_header(report, kind=None):
    kind = (kind or report["errorType"]).encode("ascii", "replace").decode()[:200]
    return "Lambda-Runtime-Function-Error-Type: %s\r\n" % kind


# Logging


class _LoggingHook:
    """Sets the root logger up as Lambda does, at the moment `logging` is first imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            _set_up_logging(module)

        spec.loader.exec_module = exec_module
        return spec


def _set_up_logging(logging):
    class LambdaLoggerHandler(logging.Handler):
        def emit(self, record):
            write_out(self.format(record))

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = request_id or ""
            record.tenant_id = None
            return True

    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    if is_json_log():
        handler.setFormatter(_make_json_formatter(logging))
    else:
        handler.setFormatter(
            logging.Formatter(
                "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
            )
        )
    handler.addFilter(LambdaLoggerFilter())
    logger = logging.getLogger()
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = "DEBUG" if level == "TRACE" else level
    if level in logging._nameToLevel:
        logger.setLevel(level)
    logger.addHandler(handler)


# What a record has of itself; the rest came by `extra` and is shown.
RECORD_FIELDS = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created msecs "
    "relativeCreated thread threadName processName process taskName aws_request_id tenant_id".split()
)


def _make_json_formatter(logging):
    import json
    import traceback

    encode = json.JSONEncoder(ensure_ascii=False, default=str).encode

    class JsonFormatter(logging.Formatter):
        def format(self, record):
            record.levelno = min(50, max(0, record.levelno)) // 10 * 10
            record.levelname = logging.getLevelName(record.levelno)
            kind, error, trace = record.exc_info or (None, None, None)
            is_plain = isinstance(record.msg, dict) and not record.args
            entry = {
                "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
                "level": record.levelname,
                "message": record.msg if is_plain else record.getMessage(),
                "logger": record.name,
                "stackTrace": traceback.format_tb(trace) if kind else None,
                "errorType": kind.__name__ if kind else None,
                "errorMessage": str(error) if kind else None,
                "requestId": record.aws_request_id,
                "location": "%s:%s:%s" % (record.pathname, record.funcName, record.lineno) if kind else None,
            }
            for key, value in vars(record).items():
                if key not in RECORD_FIELDS and key not in entry:
                    entry[key] = value
            return encode({key: value for key, value in entry.items() if value is not None}) + "\n"

    return JsonFormatter()


# Prewarming

# What handlers and the clients of services import most. `logging` is not among them: it notes when it was imported.
COMMON_MODULES = (
    "json",
    "re",
    "traceback",
    "string",
    "threading",
    "functools",
    "typing",
    "datetime",
    "base64",
    "socket",
    "urllib.parse",
    "http.client",
    "urllib.request",
)


def import_common_modules():
    """Imports them and returns the names of all that came with them."""
    before = set(sys.modules)
    for name in COMMON_MODULES:
        try:
            __import__(name)
        except ImportError:
            pass
    return set(sys.modules) - before


def forget_shadowed(imported, roots):
    """Forgets all that was imported ahead when the function brings a module with a name among them, so that whoever
    imports one gets what it would have got."""
    names = {name.partition(".")[0] for name in imported}
    for root in roots:
        try:
            entries = os.listdir(root)
        except OSError:
            continue
        if any(entry.partition(".")[0] in names for entry in entries):
            for name in imported:
                sys.modules.pop(name, None)
            return


def read_message():
    """What standard input says, up to the end of it; nothing if that comes at once. Then there is nothing to read."""
    pieces = []
    while True:
        piece = os.read(0, 65536)
        if not piece:
            break
        pieces.append(piece)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return b"".join(pieces)


def take_environment(given):
    zone = os.environ.get("TZ")
    # What the interpreter has added by itself comes last, as it would have.
    added = {name: value for name, value in os.environ.items() if name not in given}
    for name in list(os.environ):
        del os.environ[name]
    os.environ.update(given)
    os.environ.update(added)
    if os.environ.get("TZ") != zone:
        time.tzset()


def await_assignment(imported):
    """Waits for the function: its environment and directory, as JSON on standard input."""
    message = read_message()
    if not message:
        sys.exit(0)  # There will be none.
    assignment = parse_json(message.decode())
    del os.environ[AWAITS]
    take_environment(assignment["environment"])
    os.chdir(assignment["directory"])
    forget_shadowed(imported, function_roots())


# Snapshots


def hooks(name):
    """What the function has registered with `snapshot_restore_py`, if it has imported that."""
    module = sys.modules.get("snapshot_restore_py")
    return getattr(module, name)() if module is not None else []


def run_before_snapshot():
    registered = hooks("get_before_snapshot")
    while registered:
        function, arguments, named = registered.pop()
        function(*arguments, **named)


def run_after_restore():
    for function, arguments, named in hooks("get_after_restore"):
        function(*arguments, **named)


def of_library(name):
    """The standard library's module of that name, if it is loaded: not one that the function has brought."""
    module = sys.modules.get(name)
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    is_ours = origin == "built-in" or str(origin).startswith(os.path.dirname(os.__file__) + os.sep)
    return module if is_ours else None


def draw_anew():
    """Gives generators of random numbers that have been seeded a seed of this copy's own. What asks the kernel each time
    needs none. No module of the function's own is called: that is what hooks are for."""
    random = of_library("random")
    if random is not None:
        random.seed()
    ssl = of_library("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(64), 64.0)
    # It comes with the package, but compiled; what is called the same and written in Python is somebody else's.
    generators = sys.modules.get("numpy.random.mtrand")
    if type(getattr(generators, "__loader__", None)).__name__ == "ExtensionFileLoader":
        generators.seed()


def be_copied(api):
    """Returns in a copy, never in the original."""
    import gc

    try:
        run_before_snapshot()
    except BaseException as error:
        report = describe(error)
        log_error(report)
        flush()
        api.post("init/error", encode_report(report), extra=error_header(report, "Runtime.BeforeSnapshotError"))
        sys.exit(64)
    flush()
    # What is loaded by now is looked at by no collection in a copy, which would copy its pages for nothing.
    gc.collect()
    gc.freeze()
    api.restore_next()
    message = read_message()
    if not message:
        sys.exit(0)  # Nobody is left to copy it.
    given = parse_json(message.decode())["environment"]
    take_environment(given)
    draw_anew()
    # Before the hooks, so that the platform can tell their time.
    api.open()
    try:
        run_after_restore()
    except BaseException as error:
        report = describe(error)
        log_error(report)
        flush()
        api.post("restore/error", encode_report(report), extra=error_header(report, "Runtime.AfterRestoreError"))
        sys.exit(65)


# The function


def function_roots():
    layers = ["/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2], "/opt/python"]
    return [TASK_ROOT] + [path for path in layers if os.path.isdir(path)]


def set_up_modules():
    sys.path[:1] = function_roots()
    sys.argv = [""]
    sys.meta_path.insert(0, _LoggingHook())
    try:
        # What `site` would have added to the builtins, were it loaded.
        import builtins

        import _sitebuiltins

        builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
        builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    except ImportError:
        pass


def load_handler(handler):
    module_name, dot, function_name = handler.rpartition(".")
    if not dot:
        raise Fault(
            "Runtime.MalformedHandlerName",
            "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % handler,
        )
    name = module_name.replace("/", ".")
    if name.split(".")[0] in sys.builtin_module_names:
        raise Fault(
            "Runtime.BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % module_name
        )
    try:
        __import__(name)
        module = sys.modules[name]
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, error))
    except SyntaxError as error:
        raise Fault(
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module '%s': %s" % (module_name, error),
            ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)],
        )
    except (ValueError, KeyError) as error:
        # An empty or relative module name, such as those of `.handler` and `/.handler`.
        if error.__traceback__.tb_next is not None:
            raise
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, error))
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault(
            "Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (function_name, module_name)
        )


def run_handler(handler, headers, body):
    """The answer's bytes and content type. What the handler raises passes through."""
    context = LambdaContext(headers)
    try:
        event = parse_json(body.decode()) if body else None
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error)
    result = handler(event, context)
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        return to_json(result), "application/json"
    except Exception as error:
        raise Fault("Runtime.MarshalError", "Unable to marshal response: %s" % error)


def serve(api, handler):
    global request_id
    headers, body = api.next()
    while True:
        request_id = headers.get("lambda-runtime-aws-request-id", "")
        trace = headers.get("lambda-runtime-trace-id")
        if trace:
            os.environ["_X_AMZN_TRACE_ID"] = trace
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        invocation = headers.get("lambda-runtime-invocation-id")
        extra = "Lambda-Runtime-Invocation-Id: %s\r\n" % invocation if invocation else ""
        try:
            answer, content_type = run_handler(handler, headers, body)
            path = "invocation/%s/response" % request_id
        except Exception as error:
            report = describe(error)
            log_error(report)
            answer, content_type = encode_report(report), "application/json"
            path = "invocation/%s/error" % request_id
            extra += error_header(report)
        headers = body = None
        flush()
        headers, body = api.answer(path, answer, content_type, extra)


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def main():
    address = os.environ.get(AWAITS)
    is_original = os.environ.pop(SNAPSHOT, None) is not None
    if address is None:
        api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
        # Before the handler is loaded, so that the platform can tell the two apart.
        api.open()
    else:
        api = RuntimeApi(address)
        imported = import_common_modules()
        # To the platform this connection says that all is ready.
        api.connect()
        await_assignment(imported)
    set_up_modules()
    try:
        handler = load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        report = describe(error)
        log_error(report)
        flush()
        api.post("init/error", encode_report(report), extra=error_header(report))
        sys.exit(1)
    try:
        if is_original:
            be_copied(api)
        serve(api, handler)
    except OSError:
        sys.exit(1)  # The platform is gone.


if __name__ == "__main__":
    main()
