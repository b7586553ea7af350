//! Attempts to run something else: processes, programs, memory that is executed.

use super::{Attempt, BROKER, Fd, Kind, Targets, attempt, check, or_done, sys};
use libc::{c_char, c_int, c_void};
use std::io::{self, Error};
use std::ptr::{null, null_mut};

const fn program(
    name: &'static str,
    what: &'static str,
    run: fn(&Targets) -> io::Result<()>,
) -> Attempt {
    attempt(name, what, Kind::Programs, run).left(BROKER)
}

pub(super) const ALL: &[Attempt] = &[
    program("fork", "start a process", |_| in_child(|| 0).map(drop))
        .by("SYS_clone", libc::SYS_clone)
        .required(),
    program("clone3", "start a process by the newer call", clone3)
        .by("SYS_clone3", libc::SYS_clone3)
        .refusals(&[libc::ENOSYS]),
    program("exec", "become another program", exec)
        .by("SYS_execve", libc::SYS_execve)
        .required(),
    program("memfd-exec", "run a program from memory", memfd_exec)
        .by("SYS_execveat", libc::SYS_execveat),
    program("memfd", "make a file in memory", |_| {
        let flags = libc::MFD_CLOEXEC;
        // SAFETY: the name ends in a zero byte.
        let fd = unsafe { sys!(libc::SYS_memfd_create, c"hob-privacy".as_ptr(), flags) }?;
        drop(Fd(fd as c_int));
        Ok(())
    })
    .by("SYS_memfd_create", libc::SYS_memfd_create),
    program("new-code", "map memory that can be executed", |_| {
        let page = Page::new(libc::PROT_READ | libc::PROT_EXEC)?;
        drop(page);
        Ok(())
    })
    .by("SYS_mmap", libc::SYS_mmap)
    .required(),
    program(
        "make-executable",
        "make memory executable (PROT_EXEC)",
        |_| {
            run_code(|page| {
                let executable = libc::PROT_READ | libc::PROT_EXEC;
                // SAFETY: the caller's own page.
                unsafe { sys!(libc::SYS_mprotect, page, 4096usize, executable) }.map(drop)
            })
        },
    )
    .by("SYS_mprotect", libc::SYS_mprotect),
    program("pkey-executable", "the same by pkey_mprotect", |_| {
        run_code(|page| {
            let executable = libc::PROT_READ | libc::PROT_EXEC;
            // SAFETY: as above. Key -1 is none.
            unsafe { sys!(libc::SYS_pkey_mprotect, page, 4096usize, executable, -1) }.map(drop)
        })
    })
    .by("SYS_pkey_mprotect", libc::SYS_pkey_mprotect),
    program(
        "personality",
        "have all memory be executable (personality)",
        personality,
    )
    .by("SYS_personality", libc::SYS_personality),
];

/// Exit code of the program in [`elf`].
const STATUS: c_int = 42;

/// The least program that Linux runs on this architecture: it ends with [`STATUS`]. (ELF, System V ABI:
/// a file header of 64 bytes, one program header of 56, and code.)
pub(super) fn elf() -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    let (machine, code): (u16, &[u8]) = (
        62,
        // mov edi, 42; mov eax, 231 (exit_group); syscall
        &[0xbf, 42, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05],
    );
    #[cfg(target_arch = "aarch64")]
    let (machine, code): (u16, &[u8]) = (
        183,
        // mov x0, #42; mov x8, #94 (exit_group); svc #0
        &[
            0x40, 0x05, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4,
        ],
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (machine, code): (u16, &[u8]) = (0, &[]);
    let (base, headers): (u64, u64) = (0x40_0000, 64 + 56);
    let size = headers + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(2u16.to_le_bytes()); // an executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes()); // version
    file.extend((base + headers).to_le_bytes()); // entry
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes()); // no section headers
    file.extend(0u32.to_le_bytes()); // flags
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes()); // loaded
    file.extend(5u32.to_le_bytes()); // readable and executable
    for word in [0u64, base, base, size, size, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// Has a child do something, and gives its exit code.
fn in_child(work: impl FnOnce() -> c_int) -> io::Result<c_int> {
    let nothing = null_mut::<c_void>();
    // As fork does; made directly, for a C library might use another call.
    // SAFETY: the child, which has this thread alone, makes system calls only, and ends.
    let child = unsafe {
        sys!(
            libc::SYS_clone,
            libc::SIGCHLD,
            nothing,
            nothing,
            nothing,
            nothing
        )
    }?;
    finish(child, work)
}

/// Both sides of a call that makes a process.
fn finish(child: libc::c_long, work: impl FnOnce() -> c_int) -> io::Result<c_int> {
    if child == 0 {
        let code = work();
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the status lives here. That it may not be asked for changes nothing.
    unsafe { libc::waitpid(child as c_int, &raw mut status, 0) };
    Ok(libc::WEXITSTATUS(status))
}

fn clone3(_: &Targets) -> io::Result<()> {
    // The kernel's clone_args in its first version: flags, pidfd, child_tid, parent_tid, exit_signal...
    let mut args = [0u64; 8];
    args[4] = libc::SIGCHLD as u64;
    // SAFETY: the parameters are as long as said; the child ends at once.
    let child = unsafe { sys!(libc::SYS_clone3, &raw const args, size_of_val(&args)) }?;
    finish(child, || 0).map(drop)
}

const NO_STRINGS: [*const c_char; 1] = [null()];

/// Tried in this very process first, with what cannot run, because the refusal of the call itself comes
/// before that; then for real, in a child, where one may be had.
fn exec_with(
    harmless: impl Fn() -> io::Result<()>,
    harmless_error: c_int,
    real: impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    or_done(harmless(), &[harmless_error])?;
    match in_child(|| real().err().and_then(|e| e.raw_os_error()).unwrap_or(-1)) {
        Ok(STATUS) => Ok(()),
        // The child's error number; none of those that can occur is STATUS.
        Ok(errno) => Err(Error::from_raw_os_error(errno)),
        // No child to be had; the call was let through.
        Err(_) => Ok(()),
    }
}

fn exec(t: &Targets) -> io::Result<()> {
    let path = t.sinks.folder.join("program").into_os_string();
    let path = std::ffi::CString::new(path.into_encoded_bytes())?;
    let run = |path: &std::ffi::CStr| {
        let (argv, env) = (NO_STRINGS.as_ptr(), NO_STRINGS.as_ptr());
        // SAFETY: the path ends in a zero byte, the lists in a null.
        unsafe { sys!(libc::SYS_execve, path.as_ptr(), argv, env) }.map(drop)
    };
    exec_with(|| run(c"/nonexistent/hob"), libc::ENOENT, || run(&path))
}

fn memfd_exec(t: &Targets) -> io::Result<()> {
    let run = |fd: c_int| {
        let (argv, env) = (NO_STRINGS.as_ptr(), NO_STRINGS.as_ptr());
        let flags = libc::AT_EMPTY_PATH;
        // SAFETY: the path ends in a zero byte, the lists in a null.
        unsafe { sys!(libc::SYS_execveat, fd, c"".as_ptr(), argv, env, flags) }.map(drop)
    };
    exec_with(|| run(t.garbage()), libc::ENOEXEC, || run(t.program()))
}

/// A page of this attempt's own.
struct Page(*mut c_void);

impl Page {
    fn new(protection: c_int) -> io::Result<Page> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, of nobody's memory.
        let page = unsafe { libc::mmap(null_mut(), 4096, protection, flags, -1, 0) };
        match page == libc::MAP_FAILED {
            true => Err(Error::last_os_error()),
            false => Ok(Page(page)),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: this value's own mapping.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

/// Writes a function that returns 42, has its memory made executable, and calls it.
fn run_code(make_executable: impl Fn(*mut c_void) -> io::Result<()>) -> io::Result<()> {
    // mov eax, 42; ret
    #[cfg(target_arch = "x86_64")]
    let code = [0xb8u8, 42, 0, 0, 0, 0xc3, 0, 0];
    // mov w0, #42; ret
    #[cfg(target_arch = "aarch64")]
    let code = [0x40u8, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let code = [0u8; 8];
    let page = Page::new(libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the page can be written, and is larger.
    unsafe { page.0.cast::<[u8; 8]>().write(code) };
    make_executable(page.0)?;
    // ARM64 does not see new code before caches are told, which takes more than this test needs to show.
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the page holds the function above, complete.
        let function: extern "C" fn() -> c_int = unsafe { std::mem::transmute(page.0) };
        if function() != STATUS {
            return Err(Error::from_raw_os_error(libc::ENOEXEC));
        }
    }
    Ok(())
}

/// With READ_IMPLIES_EXEC, whatever is mapped for reading can be executed: the filter of mmap's
/// arguments would not see it.
fn personality(_: &Targets) -> io::Result<()> {
    const ASK: libc::c_ulong = 0xffff_ffff;
    // SAFETY: no memory is passed; what was is put back at once.
    unsafe {
        let before = sys!(libc::SYS_personality, ASK)?;
        let wanted = before as libc::c_ulong | libc::READ_IMPLIES_EXEC as libc::c_ulong;
        sys!(libc::SYS_personality, wanted)?;
        check(libc::syscall(libc::SYS_personality, before)).map(drop)
    }
}
