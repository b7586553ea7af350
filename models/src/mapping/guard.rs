//! What becomes of a map whose file is cut short. Touching a page that the file no longer has raises
//! SIGBUS, whose default action ends the process. With [`guard_mappings`], the pages from there to the
//! map's end become zeros instead and the map is marked: whoever has read it then asks the mark
//! ([`Watched::is_cut`]) before trusting what came of it. Maps enter (address and length), their marks
//! leave; nothing else's SIGBUS is touched: it goes on to the handler before this one.
//!
//! The signal handler runs in the middle of anything, so it takes no lock and allocates nothing: it
//! reads a table of atomics and makes one system call.

use std::io;

#[cfg(target_os = "linux")]
pub(super) use linux::Watched;

/// From now on, for the whole process, a mapped model file that another program cuts short (or that the
/// disk cannot read any more) is an error of whatever reads it, not the end of the process. Maps made
/// before count, too. For programs, as one of the first things that they do, before they give up system
/// calls; a second call does nothing.
///
/// A process has one handler of SIGBUS. One that stands already is called for every fault that is not in
/// a map of hob's; one that is put up later should hand on faults that it does not know. Who wants no
/// handler at all should load models into memory of its own
/// ([`Keep::Owned`](crate::files::Keep::Owned)).
///
/// # Errors
/// The system refuses the handler, or is none that this is built for (Linux is).
pub fn guard_mappings() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return linux::install();
    #[cfg(not(target_os = "linux"))]
    Err(io::ErrorKind::Unsupported.into())
}

/// Elsewhere no map is watched: a file that shrinks ends the process.
#[cfg(not(target_os = "linux"))]
pub(super) struct Watched;

#[cfg(not(target_os = "linux"))]
impl Watched {
    pub(super) fn new(_start: usize, _len: usize) -> Watched {
        Watched
    }

    pub(super) fn is_cut(&self) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
    use std::sync::{Mutex, PoisonError};

    use libc::{c_int, c_void, sigaction, siginfo_t};

    /// A map in the table. Free, being filled or filled, by the lowest two bits of `version`, which every
    /// change moves on: a reader that finds the same version before and after has read one map.
    struct Slot {
        version: AtomicUsize,
        start: AtomicUsize,
        /// The first address behind the last page.
        end: AtomicUsize,
        is_cut: AtomicBool,
    }

    const FREE: usize = 0;
    const FILLING: usize = 1;
    const FILLED: usize = 2;
    const STATE: usize = 3;

    /// Slots that are made at a time.
    const CHUNK: usize = 64;

    /// The table: a list of chunks that only grows, so that it can be read at any moment.
    struct Chunk {
        slots: [Slot; CHUNK],
        next: AtomicPtr<Chunk>,
    }

    static TABLE: Chunk = Chunk::new();

    impl Chunk {
        const fn new() -> Chunk {
            Chunk {
                slots: [const {
                    Slot {
                        version: AtomicUsize::new(FREE),
                        start: AtomicUsize::new(0),
                        end: AtomicUsize::new(0),
                        is_cut: AtomicBool::new(false),
                    }
                }; CHUNK],
                next: AtomicPtr::new(ptr::null_mut()),
            }
        }

        fn next(&self) -> Option<&'static Chunk> {
            // SAFETY: null, or from `Box::into_raw` in `grow`, and never freed.
            unsafe { self.next.load(SeqCst).as_ref() }
        }

        /// The chunk after this one, the last.
        fn grow(&self) -> &'static Chunk {
            let new = Box::into_raw(Box::new(Chunk::new()));
            match self
                .next
                .compare_exchange(ptr::null_mut(), new, SeqCst, SeqCst)
            {
                // SAFETY: it was just made, and is never freed from now on.
                Ok(_) => unsafe { &*new },
                Err(other) => {
                    // SAFETY: nobody else has seen it.
                    drop(unsafe { Box::from_raw(new) });
                    // SAFETY: not null, so another thread's, which is never freed.
                    unsafe { &*other }
                }
            }
        }
    }

    impl Slot {
        /// Takes the slot for a map, if it is free.
        fn take(&self, start: usize, end: usize) -> bool {
            let version = self.version.load(SeqCst);
            let filling = version.wrapping_add(FILLING);
            if version & STATE != FREE
                || self
                    .version
                    .compare_exchange(version, filling, SeqCst, SeqCst)
                    .is_err()
            {
                return false;
            }
            self.start.store(start, SeqCst);
            self.end.store(end, SeqCst);
            self.is_cut.store(false, SeqCst);
            self.version.store(version.wrapping_add(FILLED), SeqCst);
            true
        }

        /// The end of the map, if it holds this address.
        fn end_of(&self, address: usize) -> Option<usize> {
            let version = self.version.load(SeqCst);
            let (start, end) = (self.start.load(SeqCst), self.end.load(SeqCst));
            let is_one_map = version & STATE == FILLED && self.version.load(SeqCst) == version;
            (is_one_map && (start..end).contains(&address)).then_some(end)
        }
    }

    /// A map's place in the table; drop it before the map.
    pub(in super::super) struct Watched(&'static Slot);

    impl Watched {
        /// Watches the map of `len` bytes at the address `start`.
        pub(in super::super) fn new(start: usize, len: usize) -> Watched {
            let end = start.saturating_add(len.next_multiple_of(rustix::param::page_size()));
            let mut chunk = &TABLE;
            loop {
                if let Some(slot) = chunk.slots.iter().find(|slot| slot.take(start, end)) {
                    return Watched(slot);
                }
                chunk = chunk.next().unwrap_or_else(|| chunk.grow());
            }
        }

        /// Whether a page of it was found missing, and reads as zeros.
        pub(in super::super) fn is_cut(&self) -> bool {
            self.0.is_cut.load(SeqCst)
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            // From filled to the next version's free.
            self.0.version.fetch_add(4 - FILLED, SeqCst);
        }
    }

    /// The size of a page, for the handler.
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    /// What stood before; null until the handler is put up. Never freed.
    static PREVIOUS: AtomicPtr<sigaction> = AtomicPtr::new(ptr::null_mut());
    static INSTALLED: Mutex<bool> = Mutex::new(false);

    /// See [`super::guard_mappings`].
    pub(super) fn install() -> io::Result<()> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if *installed {
            return Ok(());
        }
        PAGE.store(rustix::param::page_size(), SeqCst);
        // SAFETY: all bytes zero is a value of this structure of integers and null pointers.
        let mut previous: sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: asks for the present action alone; the structure is this function's.
        if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // Known before the handler can run.
        PREVIOUS.store(Box::into_raw(Box::new(previous)), SeqCst);
        // SAFETY: as above.
        let mut action: sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_bus_error as *const () as usize;
        // On the stack that threads have for signals, where they have one.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for and is safe in a signal.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        *installed = true;
        Ok(())
    }

    extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: with SA_SIGINFO the kernel passes a valid structure, which has an address for SIGBUS.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
        // Positive: a fault, and no signal that some process sent.
        if code > 0 && zero_from(address) {
            return;
        }
        hand_on(signal, code, info, context);
    }

    /// Puts zeros from the page of `address` to the end of the map that holds it; false if none does.
    fn zero_from(address: usize) -> bool {
        let mut chunk = Some(&TABLE);
        while let Some(Chunk { slots, .. }) = chunk {
            for slot in slots {
                let Some(end) = slot.end_of(address) else {
                    continue;
                };
                // Before anybody can read a zero.
                slot.is_cut.store(true, SeqCst);
                let page = PAGE.load(SeqCst);
                let first = address & !page.wrapping_sub(1);
                // SAFETY: errno is this thread's; what was interrupted may be about to read it.
                let errno = unsafe { libc::__errno_location() };
                // SAFETY: as above.
                let kept = unsafe { *errno };
                // To the end and not one page: what is behind a missing page is missing, too, and what
                // is not is not trusted any more. One entry in the system's list of maps is enough then.
                //
                // SAFETY: the range lies within a map of hob's, which lives as long as the thread that
                // was just reading it holds it. Its content becomes zeros, atomically for other readers;
                // to them, files may change at any time. A plain system call in every C library of Linux.
                let mapped = unsafe {
                    libc::mmap(
                        first as *mut c_void,
                        end - first,
                        libc::PROT_READ,
                        libc::MAP_PRIVATE
                            | libc::MAP_ANONYMOUS
                            | libc::MAP_FIXED
                            | libc::MAP_NORESERVE,
                        -1,
                        0,
                    )
                };
                // SAFETY: as above.
                unsafe { *errno = kept };
                return mapped != libc::MAP_FAILED;
            }
            chunk = chunk.and_then(Chunk::next);
        }
        false
    }

    /// Does what would have been done without this handler.
    fn hand_on(signal: c_int, code: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: null, or from `Box::into_raw` in `install`, and never freed.
        let previous = unsafe { PREVIOUS.load(SeqCst).as_ref() };
        let (action, flags) = previous.map_or((libc::SIG_DFL, 0), |p| (p.sa_sigaction, p.sa_flags));
        match action {
            // A signal that some process sent can be ignored, a fault cannot.
            libc::SIG_IGN if code <= 0 => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // SAFETY: all bytes zero is the default action, without flags.
                let default: sigaction = unsafe { std::mem::zeroed() };
                // SAFETY: a valid action for this signal. A fault happens again when this returns; a
                // signal that was sent is sent again, and waits until then.
                unsafe {
                    libc::sigaction(signal, &raw const default, ptr::null_mut());
                    if code <= 0 {
                        libc::raise(signal);
                    }
                }
            }
            handler if flags & libc::SA_SIGINFO != 0 => {
                // SAFETY: the system has it as a handler of this signature, by its flag.
                let handler = unsafe {
                    std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(
                        handler,
                    )
                };
                handler(signal, info, context);
            }
            handler => {
                // SAFETY: the system has it as a handler of this signature, by the lack of the flag.
                let handler =
                    unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
                handler(signal);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// What is no map's goes to whoever was there before, with all that it was told.
        #[test]
        fn other_faults_go_to_the_handler_before() {
            static SEEN: AtomicUsize = AtomicUsize::new(0);
            extern "C" fn with_info(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
                let known = signal == 7 && info.is_null() && context == ptr::dangling_mut();
                SEEN.fetch_add(if known { 1 } else { 1000 }, SeqCst);
            }
            extern "C" fn plain(signal: c_int) {
                SEEN.fetch_add(if signal == 7 { 10 } else { 1000 }, SeqCst);
            }
            let before = |handler: usize, flags: c_int, code: c_int| {
                // SAFETY: all bytes zero is a value of this structure.
                let mut action: sigaction = unsafe { std::mem::zeroed() };
                (action.sa_sigaction, action.sa_flags) = (handler, flags);
                let ours = Box::into_raw(Box::new(action));
                let others = PREVIOUS.swap(ours, SeqCst);
                hand_on(7, code, ptr::null_mut(), ptr::dangling_mut());
                PREVIOUS.store(others, SeqCst);
            };
            before(with_info as *const () as usize, libc::SA_SIGINFO, 2);
            before(plain as *const () as usize, 0, 2);
            // Sent by a process, and ignored.
            before(libc::SIG_IGN, 0, 0);
            assert_eq!(SEEN.load(SeqCst), 11);
            assert!(!zero_from(ptr::from_ref(&SEEN) as usize));
        }

        #[test]
        fn slots_are_found_by_their_addresses_and_free_again_after() {
            // Addresses that no program has; more of them than one chunk holds.
            let base = 1_usize << 60;
            let maps: Vec<Watched> = (0..3 * CHUNK)
                .map(|i| Watched::new(base + (i << 20), 5000))
                .collect();
            let found = |address| maps.iter().position(|w| w.0.end_of(address).is_some());
            assert_eq!(found(base - 1), None);
            for i in [0, 1, CHUNK, 3 * CHUNK - 1] {
                let start = base + (i << 20);
                assert_eq!(found(start), Some(i));
                assert_eq!(found(start + 5000), Some(i), "the rest of the last page");
                assert_eq!(found(start + (1 << 19)), None);
            }
            let slots: Vec<&Slot> = maps.iter().map(|w| w.0).collect();
            drop(maps);
            let still = |(i, slot): (usize, &&Slot)| slot.end_of(base + (i << 20)).is_some();
            assert!(!slots.iter().enumerate().any(still));
        }
    }
}
