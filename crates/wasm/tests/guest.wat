(module
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $send (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop_stream (param i32)))
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
    (func $set_authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
    (func $set_path (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-response.set-status-code"
    (func $set_status (param i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-response.body" (func $response_body (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $body_stream (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish" (func $finish_body (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
    (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
    (func $subscribe (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get" (func $future (param i32 i32)))
  (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $fetch (param i32 i32 i32 i32)))

  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-splice"
    (func $splice (param i32 i32 i64 i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]input-stream" (func $drop_source (param i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
    (func $set_scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-method"
    (func $set_method (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.body" (func $request_body (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]request-options" (func $options (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-connect-timeout"
    (func $set_connect_timeout (param i32 i32 i64) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-first-byte-timeout"
    (func $set_first_byte_timeout (param i32 i32 i64) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-between-bytes-timeout"
    (func $set_between_bytes_timeout (param i32 i32 i64) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.status" (func $status (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.consume" (func $consume (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[resource-drop]incoming-response" (func $drop_response (param i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $source (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[resource-drop]incoming-body" (func $drop_incoming (param i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "some words")
  (data (i32.const 16) "/")
  (data (i32.const 32) "api.example")
  (global $body (mut i32) (i32.const 0))
  (global $stream (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))

  ;; Begins a reply of the given status.
  (func $begin (param $reply i32) (param $status i32) (local $made i32)
    (local.set $made (call $response (call $fields)))
    (drop (call $set_status (local.get $made) (local.get $status)))
    (call $response_body (local.get $made) (i32.const 64))
    (global.set $body (i32.load (i32.const 68)))
    (call $body_stream (global.get $body) (i32.const 64))
    (global.set $stream (i32.load (i32.const 68)))
    (call $set (local.get $reply) (i32.const 0) (local.get $made)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

  ;; Sends "some words".
  (func $write (call $send (global.get $stream) (i32.const 0) (i32.const 10) (i32.const 64)))

  (func $finish
    (call $drop_stream (global.get $stream))
    (call $finish_body (global.get $body) (i32.const 0) (i32.const 0) (i32.const 64)))

  ;; A request to AUTHORITY, which is at 8192 with its length before it at 8188; the scheme is 0 for http, 1 for https.
  (func $ask (param $scheme i32) (result i32) (local $request i32)
    (local.set $request (call $request (call $fields)))
    (drop (call $set_scheme (local.get $request) (i32.const 1) (local.get $scheme) (i32.const 0) (i32.const 0)))
    (drop (call $set_authority (local.get $request) (i32.const 1) (i32.const 8192) (i32.load (i32.const 8188))))
    (drop (call $set_path (local.get $request) (i32.const 1) (i32.const 16) (i32.const 1)))
    (local.get $request))

  ;; Sends a request without options or with; what will become of it.
  (func $go (param $request i32) (param $has_options i32) (param $options i32) (result i32)
    (call $fetch (local.get $request) (local.get $has_options) (local.get $options) (i32.const 64))
    (i32.load (i32.const 72)))

  ;; Waits for what becomes of a request and passes it on: the answer, or 400 and the number of the error code.
  (func $relay (param $reply i32) (param $future i32) (local $answer i32) (local $incoming i32) (local $from i32)
    (call $block (call $subscribe (local.get $future)))
    (call $future (local.get $future) (i32.const 64))
    (if (i32.load8_u (i32.const 80))
      (then
        (call $begin (local.get $reply) (i32.add (i32.const 400) (i32.load8_u (i32.const 88))))
        (call $finish))
      (else
        (local.set $answer (i32.load (i32.const 88)))
        (call $begin (local.get $reply) (call $status (local.get $answer)))
        (call $consume (local.get $answer) (i32.const 64))
        (local.set $incoming (i32.load (i32.const 68)))
        (call $source (local.get $incoming) (i32.const 64))
        (local.set $from (i32.load (i32.const 68)))
        (loop $more
          (call $splice (global.get $stream) (local.get $from) (i64.const 65536) (i32.const 64))
          (br_if $more (i32.eqz (i32.load8_u (i32.const 64)))))
        ;; The stream ended (1), or it broke (0): that is told by breaking off as well.
        (if (i32.eqz (i32.load8_u (i32.const 72))) (then unreachable))
        (call $drop_source (local.get $from))
        (call $drop_incoming (local.get $incoming))
        (call $drop_response (local.get $answer))
        (call $finish))))

  (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $asked i32) (param $reply i32)
    ;; BODY
  ))
