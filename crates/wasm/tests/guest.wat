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

  (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $asked i32) (param $reply i32)
    ;; BODY
  ))
