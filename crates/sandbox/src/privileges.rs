//! Giving up everything: capabilities, their bounding set, new privileges, visibility to the guest; and the
//! limits of one process (rlimits).
//!
//! Invariant: after [`drop_all`] this process and all it starts hold no capability and can gain none.

use libc::{c_int, c_ulong};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use crate::{
    sys,
    wire::{Failure, Step},
};

/// No capability by being root, none kept over a change of user, none raised as ambient; each of these locked.
pub(crate) const SECURE_BITS: c_int = libc::SECBIT_NOROOT
    | libc::SECBIT_NOROOT_LOCKED
    | libc::SECBIT_NO_SETUID_FIXUP
    | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
    | libc::SECBIT_KEEP_CAPS_LOCKED
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

/// Numbers to try when the kernel is asked for its last.
const CAPABILITIES_MAX: c_ulong = 64;

/// The core limit of the helper and of all that come from it. The kernel knows 1 as one that means no file and no
/// start of the handler which many hosts name in `core_pattern`: with a limit of 0 it would still run that, as root
/// of the host, on whatever a guest has prepared (source: `core(5)`, `fs/coredump.c`). The filter of system calls
/// keeps a guest from changing it.
pub(crate) const CORE_BYTES_MAX: rlim_t = 1;

/// How many capabilities this kernel knows.
pub(crate) fn capabilities() -> c_ulong {
    let knows = |capability: &c_ulong| sys::prctl(libc::PR_CAPBSET_READ, *capability, 0).is_ok();
    (0..CAPABILITIES_MAX).take_while(knows).count() as c_ulong
}

/// Dies with the helper. The kernel forgets this at every change of user, so it is said again after one.
pub(crate) fn die_with_helper() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong, 0).step("PR_SET_PDEATHSIG")
}

/// Gives up all privileges. What is dumpable can be traced and read by the guest's user: this process is not.
pub(crate) fn drop_all() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS as c_ulong, 0).step("PR_SET_SECUREBITS")?;
    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong, 0).step("PR_CAP_AMBIENT_CLEAR_ALL")?;
    for capability in 0..capabilities() {
        sys::prctl(libc::PR_CAPBSET_DROP, capability, 0).step("PR_CAPBSET_DROP")?;
    }
    sys::clear_capabilities().step("capset")?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).step("PR_SET_NO_NEW_PRIVS")?;
    hide()
}

/// Keeps the guest's user from tracing this process, reading its memory and reaching its descriptors.
pub(crate) fn hide() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).step("PR_SET_DUMPABLE")
}

/// Lets this process read and write its own files in `/proc`, which what it was before did not leave it.
pub(crate) fn show() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_DUMPABLE, 1, 0).step("PR_SET_DUMPABLE")
}

/// Lowers a limit to `wanted`, soft and hard; a lower hard limit that stands already is kept.
pub(crate) fn limit(resource: Resource, wanted: rlim_t) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let value = wanted.min(hard);
    setrlimit(resource, value, value)
}
