// The WASI 0.2.0 functions this component imports, as the component model's canonical ABI lowers them to C:
// a handle is an int, a string or list is a pointer and a length, and anything that needs more than one
// return value is written where the last argument points. Their meaning is in edge.wit.

#ifndef WASI_H
#define WASI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define HTTP "wasi:http/types@0.2.0"
#define STREAMS "wasi:io/streams@0.2.0"

typedef int32_t Handle;
typedef struct { const char *at; size_t length; } Text;
typedef struct { const Text *at; size_t length; } Texts;
typedef struct { Text name, value; } Pair;
typedef struct { const Pair *at; size_t length; } Pairs;
typedef struct { uint8_t is_some; Text text; } MaybeText;
typedef struct { uint8_t is_error; Handle handle; } HandleResult;
typedef struct { uint8_t kind; Text other; } Method;
typedef struct { uint8_t is_error; uint64_t count; } CountResult;
typedef struct { uint8_t is_error; int32_t error[2]; } StreamResult;
typedef struct { uint64_t space[5]; } FinishResult;
enum { METHOD_GET = 0, METHOD_HEAD = 1, METHOD_POST = 2 };

IMPORT("wasi:cli/environment@0.2.0", "get-environment") void environment_get(Pairs *);
IMPORT("wasi:cli/stdout@0.2.0", "get-stdout") Handle stdout_get(void);
IMPORT("wasi:random/random@0.2.0", "get-random-u64") uint64_t random_u64(void);

IMPORT(STREAMS, "[method]output-stream.check-write") void output_check_write(Handle, CountResult *);
IMPORT(STREAMS, "[method]output-stream.write") void output_write(Handle, const char *, size_t, StreamResult *);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void output_blocking_write(Handle, const char *, size_t, StreamResult *);
IMPORT(STREAMS, "[method]output-stream.blocking-splice")
void output_blocking_splice(Handle, Handle source, uint64_t length, CountResult *);
IMPORT(STREAMS, "[resource-drop]output-stream") void output_drop(Handle);
IMPORT(STREAMS, "[resource-drop]input-stream") void input_drop(Handle);

IMPORT(HTTP, "[static]fields.from-list") void fields_from_list(const Pair *, size_t, HandleResult *);
IMPORT(HTTP, "[method]fields.get") void fields_get(Handle, const char *, size_t, Texts *);
IMPORT(HTTP, "[resource-drop]fields") void fields_drop(Handle);
IMPORT(HTTP, "[method]incoming-request.method") void request_method(Handle, Method *);
IMPORT(HTTP, "[method]incoming-request.path-with-query") void request_path(Handle, MaybeText *);
IMPORT(HTTP, "[method]incoming-request.headers") Handle request_headers(Handle);
IMPORT(HTTP, "[method]incoming-request.consume") void request_consume(Handle, HandleResult *);
IMPORT(HTTP, "[resource-drop]incoming-request") void request_drop(Handle);
IMPORT(HTTP, "[method]incoming-body.stream") void incoming_body_stream(Handle, HandleResult *);
IMPORT(HTTP, "[resource-drop]incoming-body") void incoming_body_drop(Handle);
IMPORT(HTTP, "[constructor]outgoing-response") Handle response_new(Handle fields);
IMPORT(HTTP, "[method]outgoing-response.set-status-code") int32_t response_set_status(Handle, int32_t);
IMPORT(HTTP, "[method]outgoing-response.body") void response_body(Handle, HandleResult *);
IMPORT(HTTP, "[method]outgoing-body.write") void outgoing_body_write(Handle, HandleResult *);
IMPORT(HTTP, "[static]outgoing-body.finish")
void outgoing_body_finish(Handle, int32_t has_trailers, Handle trailers, FinishResult *);
// The seven arguments after the response belong to the error code, which is only there with is_error.
IMPORT(HTTP, "[static]response-outparam.set")
void outparam_set(Handle, int32_t is_error, Handle response, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);

#endif
