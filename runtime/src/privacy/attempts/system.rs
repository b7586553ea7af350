//! Attempts to get round confinement, or to undo it: interfaces of the kernel that do other calls' work,
//! other tables of system calls, namespaces, limits.

use super::{Attempt, BROKER, Fd, Kind, Targets, attempt, sys};
use libc::{c_int, c_long};
use std::io;

const fn kernel(
    name: &'static str,
    what: &'static str,
    run: fn(&Targets) -> io::Result<()>,
) -> Attempt {
    attempt(name, what, Kind::System, run)
}

pub(super) const ALL: &[Attempt] = &[
    kernel("io_uring", "make system calls by io_uring", |_| {
        // The kernel's io_uring_params, 120 bytes, zeros.
        let mut params = [0u64; 15];
        // SAFETY: the parameters have the size that the kernel writes.
        close(unsafe { sys!(libc::SYS_io_uring_setup, 1, &raw mut params) })
    })
    .by("SYS_io_uring_setup", libc::SYS_io_uring_setup),
    kernel("namespace", "enter a namespace of its own", |_| {
        // SAFETY: no memory is passed. Of all that can be unshared, this harms the caller least.
        unsafe { sys!(libc::SYS_unshare, libc::CLONE_SYSVSEM | libc::CLONE_FS) }.map(drop)
    })
    .by("SYS_unshare", libc::SYS_unshare),
    kernel("other-namespace", "enter another namespace", |t| {
        // SAFETY: no memory is passed. It is the one that this process is in.
        unsafe { sys!(libc::SYS_setns, t.namespace(), libc::CLONE_NEWNET) }.map(drop)
    })
    .by("SYS_setns", libc::SYS_setns),
    kernel("mount", "make a file system to be mounted", |_| {
        // SAFETY: the name ends in a zero byte.
        close(unsafe { sys!(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1) })
    })
    .by("SYS_fsopen", libc::SYS_fsopen),
    kernel("bpf", "load programs into the kernel (bpf)", |_| {
        // BPF_MAP_CREATE of an array: type 2, keys of 4 bytes, values of 4, one entry.
        let parameters = [2u32, 4, 4, 1, 0, 0, 0, 0];
        let size = size_of_val(&parameters);
        // SAFETY: the parameters are as long as said.
        close(unsafe { sys!(libc::SYS_bpf, 0, &raw const parameters, size) })
    })
    .by("SYS_bpf", libc::SYS_bpf),
    kernel("perf", "measure the processor's inside (perf)", perf)
        .by("SYS_perf_event_open", libc::SYS_perf_event_open),
    kernel("userfaultfd", "handle page faults by itself", |_| {
        const USER_MODE_ONLY: c_int = 1;
        // SAFETY: no memory is passed.
        close(unsafe { sys!(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY) })
    })
    .by("SYS_userfaultfd", libc::SYS_userfaultfd),
    #[cfg(target_arch = "x86_64")]
    kernel("x32", "use the x32 table of system calls", |_| {
        const X32: c_long = 0x4000_0000;
        // SAFETY: asks for this process's id.
        unsafe { sys!(X32 | libc::SYS_getppid) }.map(drop)
    }),
    kernel(
        "dumpable",
        "let itself be dumped and debugged again",
        |_| {
            // SAFETY: no memory is passed.
            unsafe { sys!(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }.map(drop)
        },
    )
    .by("SYS_prctl", libc::SYS_prctl)
    .required(),
    kernel("limits", "change its own limits", |_| {
        let mut now = [0u64; 2];
        let limit = libc::RLIMIT_NOFILE as c_int;
        let (read, none) = (&raw mut now, std::ptr::null_mut::<u64>());
        // SAFETY: the limits have the size that the kernel reads and writes. They stay what they were.
        unsafe {
            sys!(libc::SYS_prlimit64, 0, limit, none, read)?;
            sys!(libc::SYS_prlimit64, 0, limit, read, none).map(drop)
        }
    })
    .by("SYS_prlimit64", libc::SYS_prlimit64)
    .required()
    .left(BROKER),
];

fn close(fd: io::Result<c_long>) -> io::Result<()> {
    fd.map(|fd| drop(Fd(fd as c_int)))
}

/// A counter of this thread's time: type "software", 64 bytes of the kernel's perf_event_attr.
fn perf(_: &Targets) -> io::Result<()> {
    const SOFTWARE: u64 = 1;
    const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 1 << 5 | 1 << 6;
    let mut attributes = [0u64; 8];
    // Type and size; the configuration 0 is the processor's clock; the fifth word holds the flags.
    attributes[0] = SOFTWARE | 64 << 32;
    attributes[5] = EXCLUDE_KERNEL_AND_HYPERVISOR;
    // SAFETY: the attributes are as long as they say.
    close(unsafe {
        sys!(
            libc::SYS_perf_event_open,
            &raw const attributes,
            0,
            -1,
            -1,
            0
        )
    })
}
