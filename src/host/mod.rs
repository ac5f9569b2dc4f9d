//! The kernel, files and commands: namespaces, nf_tables netlink, iptables, sockets, the spool file.

pub mod uds;
