//! The programs against the lists, call by call, in an interpreter of the kernel's language: so they are
//! tested where the kernel is not asked, as under an emulator of another architecture.

// Types of the same constant differ between C libraries.
#![allow(clippy::unnecessary_cast)]

use super::*;
use seccompiler::sock_filter;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const OWN: u32 = 4711;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 62 | 0x8000_0000 | 0x4000_0000;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 183 | 0x8000_0000 | 0x4000_0000;

fn filter(mode: Mode) -> Filter {
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    Filter::new(mode, arch, OWN, None).unwrap()
}

/// What the kernel's interpreter would answer (Linux, Documentation/networking/filter.rst): the
/// instructions that compilers of such filters use, on struct seccomp_data.
fn interpret(program: &[sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = vec![number, arch, 0, 0];
    for a in arguments {
        data.extend([a as u32, (a >> 32) as u32]);
    }
    let (mut at, mut acc) = (0, 0);
    loop {
        let i = &program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            0x20 => acc = data[i.k as usize / 4], // load a word of the data
            0x54 => acc &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(acc == i.k),
            0x25 => at += jump(acc > i.k),
            0x35 => at += jump(acc >= i.k),
            0x06 => return i.k,
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

/// What the kernel does: the stricter of all programs' answers. (The numbers of the answers that occur
/// here fall with their strictness.)
fn answer(filter: &Filter, number: i64, arguments: [u64; 6]) -> u32 {
    let each = filter
        .programs
        .iter()
        .map(|p| interpret(p, AUDIT_ARCH, number as u32, arguments));
    each.min_by_key(|&a| {
        if a == libc::SECCOMP_RET_KILL_PROCESS {
            0
        } else {
            a
        }
    })
    .unwrap()
}

fn refused() -> u32 {
    match cfg!(feature = "kill-on-refusal") {
        true => libc::SECCOMP_RET_KILL_PROCESS,
        false => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
    }
}

/// Whether the lists mean a call with these arguments, read without the compiler.
fn is_listed(mode: Mode, number: i64, arguments: [u64; 6]) -> bool {
    let holds = |when: &When| match *when {
        When::Is(a, value) => arguments[usize::from(a)] as u32 == value as u32,
        When::Own(a) => arguments[usize::from(a)] as u32 == OWN,
        When::Bits(a, mask, value) => arguments[usize::from(a)] & mask == value & mask,
    };
    listed(mode)
        .filter(|(_, n, _)| *n == number)
        .any(|(_, _, alternatives)| {
            alternatives.is_empty() || alternatives.iter().any(|all| all.iter().all(holds))
        })
}

/// Values at which some condition of the mode changes its mind: each constant of the lists, its
/// neighbours, and the same with other upper bits.
fn telling(mode: Mode, number: i64, argument: u8) -> Vec<u64> {
    let mut values = vec![0, 1, u64::from(OWN), 2, u64::MAX, 1 << 32, 0x7fff_ffff];
    let conditions = listed(mode)
        .filter(|(_, n, _)| *n == number)
        .flat_map(|(_, _, alternatives)| alternatives.iter().flat_map(|all| all.iter()));
    for when in conditions {
        match *when {
            When::Is(a, value) if a == argument => {
                values.extend([value, value + 1, value | 1 << 32, value ^ 0x8000_0000]);
            }
            When::Bits(a, mask, value) if a == argument => {
                values.extend([value, value | !mask, mask, value ^ 1, value ^ 4]);
                values.extend((0..64).map(|bit| value ^ (1 << bit)));
            }
            _ => (),
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn what_is_listed_passes_and_all_else_is_refused() {
    for mode in [Mode::Run, Mode::Chat, Mode::Serve, Mode::Pack] {
        let filter = filter(mode);
        let mut passed = 0;
        for number in 0..1024 {
            let conditional = (0..6u8).filter(|&a| telling(mode, number, a).len() > 7);
            let mut tried = vec![[0u64; 6], [u64::MAX; 6]];
            for argument in conditional {
                let base = tried.clone();
                for value in telling(mode, number, argument) {
                    for arguments in base.iter().take(400) {
                        let mut arguments = *arguments;
                        arguments[usize::from(argument)] = value;
                        tried.push(arguments);
                    }
                }
            }
            for arguments in tried {
                let expected = match is_listed(mode, number, arguments) {
                    true if number == libc::SYS_clone3 => {
                        libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32
                    }
                    true => ALLOW,
                    false => refused(),
                };
                passed += u32::from(expected == ALLOW);
                let found = answer(&filter, number, arguments);
                assert_eq!(
                    found, expected,
                    "{mode:?}: call {number} with {arguments:x?}"
                );
            }
        }
        assert!(passed > 100, "{mode:?}: {passed}");
    }
}

/// Numbers written down here once more, from the kernel's tables, so that a slip in a library's constants
/// or in the lists is noticed.
#[test]
fn no_way_out_is_on_a_list() {
    #[cfg(target_arch = "x86_64")]
    let ways = [
        ("open", 2),
        ("socket", 41),
        ("connect", 42),
        ("sendmsg", 46),
        ("bind", 49),
        ("listen", 50),
        ("fork", 57),
        ("vfork", 58),
        ("execve", 59),
        ("rename", 82),
        ("creat", 85),
        ("unlink", 87),
        ("ptrace", 101),
        ("prctl(seccomp)", 157),
        ("openat2", 437),
        ("unlinkat", 263),
        ("memfd_create", 319),
        ("sendmmsg", 307),
        ("process_vm_readv", 310),
        ("execveat", 322),
        ("io_uring_setup", 425),
        ("io_uring_enter", 426),
        ("pidfd_getfd", 438),
    ];
    #[cfg(target_arch = "aarch64")]
    let ways = [
        ("renameat", 38),
        ("openat2", 437),
        ("unlinkat", 35),
        ("ptrace", 117),
        ("prctl(seccomp)", 167),
        ("socket", 198),
        ("bind", 200),
        ("listen", 201),
        ("connect", 203),
        ("sendmsg", 211),
        ("execve", 221),
        ("sendmmsg", 269),
        ("process_vm_readv", 270),
        ("memfd_create", 279),
        ("execveat", 281),
        ("io_uring_setup", 425),
        ("io_uring_enter", 426),
        ("pidfd_getfd", 438),
    ];
    for mode in [Mode::Run, Mode::Chat, Mode::Serve, Mode::Pack] {
        let filter = filter(mode);
        // Beneath a folder, which Landlock sees to.
        let left = |name: &str| {
            mode == Mode::Pack
                && ["rename", "renameat", "unlink", "unlinkat"].contains(&name)
                && lists::PACK
                    .iter()
                    .any(|(call, ..)| call.strip_prefix("SYS_") == Some(name))
        };
        for (name, number) in ways.into_iter().filter(|(name, _)| !left(name)) {
            // PR_SET_SECCOMP as the first argument, for prctl; nothing for the others.
            let arguments = [22, 0, 0, 0, 0, 0];
            assert_eq!(
                answer(&filter, number, arguments),
                refused(),
                "{mode:?}: {name}"
            );
        }
    }
    let openat = if cfg!(target_arch = "x86_64") {
        257
    } else {
        56
    };
    for mode in [Mode::Run, Mode::Chat] {
        assert_eq!(answer(&filter(mode), openat, [0; 6]), refused());
    }
    let serve = filter(Mode::Serve);
    assert_eq!(answer(&serve, openat, [0; 6]), ALLOW);
    for writing in [
        libc::O_WRONLY,
        libc::O_RDWR,
        libc::O_CREAT,
        libc::O_TRUNC,
        libc::O_TMPFILE,
    ] {
        let flags = [0, 0, writing as u64, 0, 0, 0];
        assert_eq!(answer(&serve, openat, flags), refused(), "{writing:#o}");
    }
}

/// A server and a line editor send to whom they are connected, never to an address: also not to one whose
/// pointer's lower half is zero.
#[test]
fn sending_to_an_address_is_refused() {
    for mode in [Mode::Chat, Mode::Serve] {
        let filter = filter(mode);
        let sendto = |address: u64, len: u64| {
            let arguments = [3, 0x1000, 4, libc::MSG_NOSIGNAL as u64, address, len];
            answer(&filter, libc::SYS_sendto, arguments)
        };
        assert_eq!(sendto(0, 0), ALLOW);
        for (address, len) in [(0x1000, 16), (1 << 32, 16), (1 << 32, 0), (0, 16)] {
            assert_eq!(
                sendto(address, len),
                refused(),
                "{mode:?} {address:#x} {len}"
            );
        }
    }
}

#[test]
fn another_architecture_s_calls_end_the_process() {
    for mode in Mode::ALL {
        for program in &filter(mode).programs {
            // i386, whose calls a 64-bit program can make too.
            let i386 = 3 | 0x4000_0000;
            let found = interpret(program, i386, 11, [0; 6]);
            assert_eq!(found, libc::SECCOMP_RET_KILL_PROCESS, "{mode:?}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_x32_table_is_refused() {
    for mode in [Mode::Run, Mode::Chat, Mode::Serve, Mode::Pack] {
        let filter = filter(mode);
        for number in 0..1024 {
            let found = answer(&filter, 0x4000_0000 | number, [0; 6]);
            assert_eq!(found, refused(), "{mode:?}: {number}");
        }
    }
    // A broker's filter names what is refused, so the table's twins are named, too.
    let broker = filter(Mode::Broker);
    for number in listed(Mode::Broker).map(|(_, n, _)| *n).chain(512..572) {
        let found = answer(&broker, 0x4000_0000 | number, [0; 6]);
        assert_eq!(found, refused(), "x32 {number}");
    }
}

#[test]
fn a_broker_is_refused_what_is_listed_and_nothing_else() {
    let filter = filter(Mode::Broker);
    for number in 0..1024 {
        let always = |(_, n, alternatives): &&Call| *n == number && alternatives.is_empty();
        let expected = match listed(Mode::Broker).find(always) {
            Some(_) => refused(),
            None => ALLOW,
        };
        assert_eq!(answer(&filter, number, [0; 6]), expected, "call {number}");
    }
    let ioctl = |request: u64| answer(&filter, libc::SYS_ioctl, [0, request, 0, 0, 0, 0]);
    assert_eq!(ioctl(libc::TIOCSTI as u64), refused());
    assert_eq!(ioctl(libc::TIOCSTI as u64 | 1 << 32), refused());
    assert_eq!(ioctl(libc::TCGETS as u64), ALLOW);
}

#[test]
fn a_permitted_call_is_the_only_change() {
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let plain = filter(Mode::Run);
    for (name, number) in attempts::calls() {
        let permitting = Filter::new(Mode::Run, arch, OWN, Some(name)).unwrap();
        for other in 0..1024 {
            let expected = match other == number {
                true => ALLOW,
                false => answer(&plain, other, [0; 6]),
            };
            assert_eq!(
                answer(&permitting, other, [0; 6]),
                expected,
                "{name}: {other}"
            );
        }
        assert_ne!(permitting.sha256(), plain.sha256());
    }
    assert!(Filter::new(Mode::Run, arch, OWN, Some("SYS_read")).is_err());
}
