//! What a confined process may ask of the kernel: the whole list, for x86-64 and ARM64.
//!
//! Everything else fails with EPERM: every kind of open, socket, connect, send, exec, fork, ptrace,
//! io_uring, memfd, mount and namespace call among it. A call with conditions is allowed if one of
//! its alternatives holds. Read it against `strace -f hob run`.

// Types of the same constant differ between C libraries.
#![allow(clippy::unnecessary_cast)]

use libc::*;

/// A condition on an argument of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Argument `.0` is `.1`, as 32 bits.
    Is(u8, u64),
    /// Argument `.0`, as 64 bits, and `.1` is `.2`.
    Bits(u8, u64, u64),
    /// Argument `.0` is this process's own id.
    Own(u8),
}
use When::{Bits, Is, Own};

/// A system call by name and number, and the alternatives under which it is allowed; none: always.
pub type Call = (&'static str, i64, &'static [&'static [When]]);

macro_rules! call {
    ($name:ident) => {
        (stringify!($name), $name as i64, &[])
    };
    ($name:ident, $($alternative:expr),+) => {
        (stringify!($name), $name as i64, &[$($alternative),+])
    };
}

/// A thread of this process, and nothing else: no process, no namespace.
const THREAD: u64 = (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD) as u64;
const NEW_NAMESPACE: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u64;
const EXEC: u64 = PROT_EXEC as u64;
/// Every bit: pointers are compared as a whole.
const ALL: u64 = u64::MAX;
/// What asks to write, or to make a file without a name; O_TMPFILE includes O_DIRECTORY, which reads.
const WRITING: u64 = (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & !O_DIRECTORY)) as u64;
/// Flags of send: all but MSG_NOSIGNAL, MSG_DONTWAIT and MSG_MORE.
const OTHER_SENDING: u64 =
    !(MSG_NOSIGNAL as u64 | MSG_DONTWAIT as u64 | MSG_MORE as u64) & 0xffff_ffff;

/// All that is left in [`Mode::Run`](super::Mode::Run).
pub const RUN: &[Call] = &[
    // What is open: standard streams, and the model's file.
    call!(SYS_read),
    call!(SYS_readv),
    call!(SYS_write),
    call!(SYS_writev),
    call!(SYS_pread64),
    call!(SYS_lseek),
    call!(SYS_close),
    // Of what is open; statx and newfstatat would take a path besides, whatever their flags say.
    call!(SYS_fstat),
    call!(
        SYS_fcntl,
        &[Is(1, F_GETFL as u64)],
        &[Is(1, F_SETFL as u64)],
        &[Is(1, F_GETFD as u64)],
        &[Is(1, F_SETFD as u64)]
    ),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_poll),
    call!(SYS_ppoll),
    // The pipe by which a signal handler wakes its thread; it leads nowhere else.
    call!(SYS_pipe2),
    // The terminal: its size and modes; no typing into it (TIOCSTI).
    call!(
        SYS_ioctl,
        &[Is(1, TCGETS as u64)],
        &[Is(1, TCGETS2 as u64)],
        &[Is(1, TCSETS as u64)],
        &[Is(1, TCSETSW as u64)],
        &[Is(1, TCSETSF as u64)],
        &[Is(1, TCSETS2 as u64)],
        &[Is(1, TCSETSW2 as u64)],
        &[Is(1, TCSETSF2 as u64)],
        &[Is(1, TIOCGWINSZ as u64)],
        &[Is(1, TIOCGPGRP as u64)],
        &[Is(1, FIONREAD as u64)]
    ),
    // Memory, never executable.
    call!(SYS_mmap, &[Bits(2, EXEC, 0)]),
    call!(SYS_mprotect, &[Bits(2, EXEC, 0)]),
    call!(SYS_munmap),
    call!(SYS_mremap),
    call!(SYS_brk),
    call!(SYS_mlock),
    call!(SYS_munlock),
    call!(
        SYS_madvise,
        &[Is(2, MADV_WILLNEED as u64)],
        &[Is(2, MADV_DONTNEED as u64)],
        &[Is(2, MADV_FREE as u64)],
        &[Is(2, MADV_SEQUENTIAL as u64)],
        &[Is(2, MADV_HUGEPAGE as u64)],
        &[Is(2, MADV_NOHUGEPAGE as u64)],
        &[Is(2, MADV_DONTDUMP as u64)],
        &[Is(2, MADV_POPULATE_READ as u64)],
        &[Is(2, MADV_POPULATE_WRITE as u64)]
    ),
    // Threads. clone3 is let through here and answered by the second filter: see `linux`.
    call!(SYS_clone, &[Bits(0, THREAD | NEW_NAMESPACE, THREAD)]),
    call!(SYS_clone3),
    call!(SYS_futex),
    call!(SYS_sched_yield),
    // Which cores; asked of a thread's own id too.
    call!(SYS_sched_getaffinity),
    call!(SYS_set_robust_list),
    call!(SYS_rseq),
    call!(SYS_set_tid_address),
    call!(SYS_gettid),
    call!(SYS_getpid),
    call!(SYS_getcpu),
    call!(
        SYS_prctl,
        &[Is(0, PR_SET_NAME as u64)],
        &[Is(0, PR_GET_DUMPABLE as u64)],
        &[Is(0, PR_SET_VMA as u64)]
    ),
    call!(SYS_restart_syscall),
    call!(SYS_exit),
    call!(SYS_exit_group),
    // Signals, to this process alone.
    call!(SYS_rt_sigaction),
    call!(SYS_rt_sigprocmask),
    call!(SYS_rt_sigreturn),
    call!(SYS_sigaltstack),
    call!(SYS_tgkill, &[Own(0)]),
    call!(SYS_kill, &[Own(0)]),
    // Time, and seeds of hash tables.
    call!(SYS_clock_gettime),
    call!(SYS_clock_nanosleep),
    call!(SYS_nanosleep),
    call!(SYS_gettimeofday),
    call!(SYS_getrandom),
];

/// What [`Mode::Chat`](super::Mode::Chat) has besides: what a line editor needs of its terminal.
pub const CHAT: &[Call] = &[
    // Two sockets that lead to each other: a signal handler wakes the editor by them.
    call!(SYS_socketpair, &[Is(0, AF_UNIX as u64)]),
    call!(SYS_ioctl, &[Is(1, FIONBIO as u64)]),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_select),
    call!(SYS_pselect6),
    // By the pair alone: no address is given.
    call!(SYS_sendto, &[Bits(4, ALL, 0), Is(5, 0)]),
    // Ctrl-Z stops the foreground programs of this terminal, this one among them.
    call!(SYS_kill, &[Is(0, 0), Is(1, SIGTSTP as u64)]),
    // What a vault is given has to be on the disk before it counts as kept.
    call!(SYS_fdatasync),
    // Snapshots are written over files that are open, which then have another length.
    call!(SYS_ftruncate),
];

/// What [`Mode::Serve`](super::Mode::Serve) has besides: answering callers of a socket that listens
/// already, with or without an event loop, and opening for reading; of which folders, Landlock decides.
pub const SERVE: &[Call] = &[
    // Callers; no socket of its own, no connect, no bind, no listen.
    call!(SYS_accept4),
    call!(SYS_recvfrom),
    // To whom the socket is connected, nobody else.
    call!(
        SYS_sendto,
        &[Bits(4, ALL, 0), Is(5, 0), Bits(3, OTHER_SENDING, 0)]
    ),
    call!(SYS_shutdown),
    call!(SYS_getsockname),
    call!(SYS_getpeername),
    call!(
        SYS_setsockopt,
        &[Is(1, IPPROTO_TCP as u64), Is(2, TCP_NODELAY as u64)],
        &[Is(1, SOL_SOCKET as u64), Is(2, SO_RCVTIMEO as u64)],
        &[Is(1, SOL_SOCKET as u64), Is(2, SO_SNDTIMEO as u64)]
    ),
    call!(
        SYS_getsockopt,
        &[Is(1, SOL_SOCKET as u64), Is(2, SO_ERROR as u64)]
    ),
    call!(SYS_fcntl, &[Is(1, F_DUPFD_CLOEXEC as u64)]),
    call!(SYS_ioctl, &[Is(1, FIONBIO as u64)]),
    // Event loops.
    call!(SYS_epoll_create1),
    call!(SYS_epoll_ctl),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_epoll_wait),
    call!(SYS_epoll_pwait),
    call!(SYS_eventfd2),
    call!(SYS_timerfd_create),
    call!(SYS_timerfd_settime),
    // Models on demand.
    call!(SYS_openat, &[Bits(2, WRITING, 0)]),
];

/// What [`Mode::Pack`](super::Mode::Pack) has besides: files, of which Landlock leaves those beneath a
/// folder.
pub const PACK: &[Call] = &[
    call!(SYS_openat),
    // Sizes and dates of any file, by its name.
    call!(SYS_statx),
    call!(SYS_newfstatat),
    call!(SYS_getdents64),
    call!(SYS_pwrite64),
    call!(SYS_fallocate),
    call!(SYS_ftruncate),
    call!(SYS_copy_file_range),
    call!(SYS_sendfile),
    call!(SYS_fsync),
    call!(SYS_fdatasync),
    call!(SYS_fchmod),
    call!(SYS_flock),
    // Room on the disk.
    call!(SYS_statfs),
    call!(SYS_fstatfs),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_mkdir),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_unlink),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_rename),
    #[cfg(not(target_arch = "x86_64"))]
    call!(SYS_mkdirat),
    #[cfg(not(target_arch = "x86_64"))]
    call!(SYS_unlinkat),
    #[cfg(not(target_arch = "x86_64"))]
    call!(SYS_renameat),
    // Whoever asked may be gone: a worker asks to go with it.
    call!(SYS_getppid),
];

/// What is refused in [`Mode::Broker`](super::Mode::Broker), where a user's editor runs and so no list of
/// what is left can be given: every way to a network or to other programs' sockets, and
/// [`INTO_OTHERS`]. A pair of sockets that lead to each other (`socketpair`) is left to the editor.
pub const BROKER_REFUSES: &[Call] = &[
    call!(SYS_socket),
    call!(SYS_connect),
    call!(SYS_bind),
    call!(SYS_listen),
    call!(SYS_accept),
    call!(SYS_accept4),
    call!(SYS_sendto),
    call!(SYS_sendmsg),
    call!(SYS_sendmmsg),
    call!(SYS_recvfrom),
    call!(SYS_recvmsg),
    call!(SYS_recvmmsg),
];

/// What is refused in a broker and to a process that fetches models, and to what these start: every way
/// into other processes, and round the list.
pub const INTO_OTHERS: &[Call] = &[
    call!(SYS_io_uring_setup),
    call!(SYS_io_uring_enter),
    call!(SYS_io_uring_register),
    call!(SYS_ptrace),
    call!(SYS_process_vm_readv),
    call!(SYS_process_vm_writev),
    call!(SYS_pidfd_getfd),
    call!(SYS_bpf),
    call!(SYS_perf_event_open),
    call!(SYS_userfaultfd),
    call!(SYS_unshare),
    call!(SYS_setns),
    call!(SYS_mount),
    // Being dumped and debugged again; a program that it starts can be, as any other.
    call!(SYS_prctl, &[Is(0, PR_SET_DUMPABLE as u64)]),
    // Typing into the terminal, for whoever reads it next.
    call!(
        SYS_ioctl,
        &[Is(1, TIOCSTI as u64)],
        &[Is(1, TIOCLINUX as u64)]
    ),
    // Data for whoever asks the kernel for it later.
    call!(SYS_add_key),
    call!(SYS_request_key),
    call!(SYS_keyctl),
    // File systems of its own.
    call!(SYS_fsopen),
    call!(SYS_fsmount),
    call!(SYS_move_mount),
    call!(SYS_open_tree),
];

/// What is refused besides to a process that fetches models, which calls and is not called.
pub const FETCH_REFUSES: &[Call] = &[call!(SYS_listen), call!(SYS_accept), call!(SYS_accept4)];

/// Starting programs: refused to a fetch that needs none (it does without pip).
pub const PROGRAMS: &[Call] = &[call!(SYS_execve), call!(SYS_execveat)];

/// The x32 numbers of [`BROKER_REFUSES`] and [`INTO_OTHERS`]: on x86-64 a kernel may have a second table of system calls, whose
/// numbers have this bit; the sixty from 512 on have no twin in the first.
#[cfg(target_arch = "x86_64")]
pub const X32: (i64, std::ops::Range<i64>) = (0x4000_0000, 512..572);
