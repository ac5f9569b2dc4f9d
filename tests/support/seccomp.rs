//! A kernel without nf_tables, as far as the calling thread can tell.

/// Makes the calling thread, and all that it starts, see a kernel that does not know the netlink
/// protocol of netfilter.
pub fn forbid_netfilter_netlink() {
    const ARGUMENT: u32 = 16;
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    // Goes on when it is equal, else to the end.
    let unless = |value: libc::c_long, skip| {
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, u32::try_from(value).unwrap(), 0, skip)
    };
    let answer = |value| instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0);
    let mut program = [
        load(0),
        unless(libc::SYS_socket, 5),
        load(ARGUMENT),
        unless(libc::AF_NETLINK.into(), 3),
        load(ARGUMENT + 16),
        unless(libc::NETLINK_NETFILTER.into(), 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT.cast_unsigned()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 8, filter: program.as_mut_ptr() };
    // SAFETY: the program lives during the call, and its length is right (man 2 seccomp).
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k }
}
