//! Lambda's limits, in one place. Where a limit is ours and not Lambda's, its line says so.

/// Largest zip accepted inline, bytes.
pub const ZIP_BYTES_MAX: usize = 52_428_800;
/// Largest unpacked package, bytes.
pub const UNZIPPED_BYTES_MAX: u64 = 262_144_000;
/// Most layers of a function.
pub const LAYERS_MAX: usize = 5;
/// Largest policy of a layer version or a function, bytes.
pub const RESOURCE_POLICY_BYTES_MAX: usize = 20_480;
/// Most files and folders in a package. Ours: it bounds inodes as the line above bounds bytes.
pub const PACKAGE_ENTRIES_MAX: usize = 100_000;
/// Largest control API request body, bytes (a 50 MB zip in base64, with room for the rest).
pub const REQUEST_BODY_BYTES_MAX: usize = 70_167_211;
/// Largest synchronous payload and response, bytes (6 MB + 100).
pub const PAYLOAD_BYTES_MAX: usize = 6_291_556;
/// Largest payload of an asynchronous invocation, bytes (source: Lambda's quotas).
pub const EVENT_BYTES_MAX: usize = 1_048_576;
/// Largest streamed response, bytes.
pub const STREAM_BYTES_MAX: u64 = 209_715_200;
/// Largest sum of environment variable names and values, bytes.
pub const ENVIRONMENT_BYTES_MAX: usize = 4_096;
/// Function memory bounds, MB.
pub const MEMORY_MB: std::ops::RangeInclusive<u32> = 128..=32_768;
/// Function timeout bounds, seconds.
pub const TIMEOUT_S: std::ops::RangeInclusive<u32> = 1..=900;
/// Size bounds of /tmp, MB.
pub const EPHEMERAL_STORAGE_MB: std::ops::RangeInclusive<u32> = 512..=10_240;
/// Bytes of log returned in `X-Amz-Log-Result`.
pub const LOG_TAIL_BYTES: usize = 4_096;
/// Longest one log line may grow before it is cut in two, bytes (CloudWatch Logs' event limit).
pub const LOG_LINE_BYTES_MAX: usize = 262_144;
/// How long a runtime may take to ask for its first event before it is ended, seconds.
pub const INIT_TIMEOUT_S: u64 = 10;
/// Most tags on a function.
pub const TAGS_MAX: usize = 50;
/// What an account must keep unreserved of its concurrency, so that functions without a reservation can run.
pub const UNRESERVED_CONCURRENCY_MIN: u32 = 100;
/// Most calls at once that an instance of a `web` function can be given. Ours.
pub const WEB_INSTANCE_CONCURRENCY_MAX: u32 = 1_000;
/// The same of a `provided` runtime, which is told how many events to ask for at once. Ours.
pub const PROVIDED_INSTANCE_CONCURRENCY_MAX: u32 = 64;
/// Bounds of a function's own maximum of instances, and of its instances that are always there. Ours.
pub const FUNCTION_INSTANCES: std::ops::RangeInclusive<u32> = 1..=4_000;
/// Bounds of a function's weight on a full node. Ours.
pub const FUNCTION_WEIGHT: std::ops::RangeInclusive<u32> = 1..=100;
