//! The demo's world: a scratch directory and the network namespaces, each pod's joined to one peer by a veth.

use super::isolate::{Holder, bind};
use crate::host::netns::{OwnNamespace, enter, enter_scratch, open};
use anyhow::{Context, Result};
use futures::TryStreamExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A directory that is gone when this is dropped, with all that is mounted in it.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the directory and mounts a file system in memory on it, in our own mount namespace: nothing of
    /// its content reaches a disk, or is left when the process is killed.
    pub fn new() -> Result<Scratch> {
        // A socket's path may have 108 bytes (man 7 unix): a long TMPDIR would not leave enough of them.
        let parent = Some(std::env::temp_dir()).filter(|dir| dir.as_os_str().len() <= 50);
        let template = parent.unwrap_or_else(|| PathBuf::from("/tmp")).join("istio-cni-demo-XXXXXX");
        let path = nix::unistd::mkdtemp(&template)
            .with_context(|| format!("cannot make a temporary directory {}", template.display()))?;
        let scratch = Scratch { path };
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &scratch.path, Some("tmpfs"), flags, Some("size=16m,mode=0700"))
            .with_context(|| format!("cannot mount a tmpfs on {}", scratch.path.display()))?;
        Ok(scratch)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Detached, so that nothing that is still open in it keeps it.
        let _was_mounted = umount2(&self.path, MntFlags::MNT_DETACH);
        let _was_there = fs::remove_dir(&self.path);
    }
}

/// A network namespace with a path, as a container runtime gives it.
pub struct Netns {
    path: PathBuf,
    descriptor: OwnedFd,
    /// Who is in it from its beginning to its end, in a pod's.
    pause: Option<Holder>,
}

impl Netns {
    /// A new namespace at `path`, with nobody in it.
    pub fn new(path: PathBuf) -> Result<Netns> {
        fs::File::create_new(&path).with_context(|| failed(&path))?;
        enter_scratch(|| bind("/proc/thread-self/ns/net", &path))?.with_context(|| failed(&path))?;
        let descriptor = open(&path, OwnNamespace::Refused)?;
        Ok(Netns { path, descriptor, pause: None })
    }

    /// A pod's new namespace at `path`. With `user`, its only user is the caller, by that name.
    pub fn of_pod(path: PathBuf, user: Option<u32>) -> Result<Netns> {
        fs::File::create_new(&path).with_context(|| failed(&path))?;
        let pause = Holder::start(user)?;
        bind(&pause.netns(), &path).with_context(|| failed(&path))?;
        let descriptor = open(&path, OwnNamespace::Refused)?;
        Ok(Netns { path, descriptor, pause: Some(pause) })
    }

    /// The process that is in it all the time, in a pod's.
    pub fn pause(&self) -> Option<u32> {
        self.pause.as_ref().map(Holder::pid)
    }

    /// What a runtime puts into CNI_NETNS.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(enter(self.descriptor.as_fd(), work)?)
    }
}

fn failed(path: &Path) -> String {
    format!("cannot make a network namespace at {}", path.display())
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A pod's sandbox: its namespace and its end of the veth.
pub struct Sandbox {
    pub netns: Netns,
    pub link: Addresses,
}

/// The addresses at both ends of a veth.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub pod4: Ipv4Addr,
    pub peer4: Ipv4Addr,
    /// Where the kernel has IPv6.
    pub v6: Option<(Ipv6Addr, Ipv6Addr)>,
}

impl Addresses {
    /// The addresses of the pod with this number.
    pub fn of(number: u8, ipv6: bool) -> Addresses {
        let v6 = |host| Ipv6Addr::new(0xfd77, u16::from(number), 0, 0, 0, 0, 0, host);
        Addresses {
            pod4: Ipv4Addr::new(10, 77, number, 2),
            peer4: Ipv4Addr::new(10, 77, number, 1),
            v6: ipv6.then(|| (v6(2), v6(1))),
        }
    }

    /// Lengths of the prefixes, IPv4 and IPv6.
    pub const PREFIXES: (u8, u8) = (24, 64);

    fn ends(self, pod: bool) -> Vec<(IpAddr, u8)> {
        let v4 = if pod { self.pod4 } else { self.peer4 };
        let v6 = self.v6.map(|(of_pod, of_peer)| if pod { of_pod } else { of_peer });
        let v4 = (IpAddr::V4(v4), Self::PREFIXES.0);
        [v4].into_iter().chain(v6.map(|v6| (IpAddr::V6(v6), Self::PREFIXES.1))).collect()
    }
}

/// The peer, to which every pod is joined.
pub struct Peer {
    pub netns: Netns,
    pub ipv6: bool,
}

impl Peer {
    /// Makes the peer's namespace, and finds out there whether the kernel has IPv6.
    pub fn new(path: PathBuf) -> Result<Peer> {
        let netns = Netns::new(path)?;
        let ipv6 = netns.inside(|| {
            let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
            disabled.is_ok_and(|text| text.trim() == "0")
        })?;
        netns.inside(|| with_netlink(async |handle| set_up(&handle, "lo").await.map(drop)))??;
        Ok(Peer { netns, ipv6 })
    }

    /// Makes a pod's namespace and joins it to the peer: `eth0` in the pod, the pod's name here.
    pub fn join(&self, pod: &str, number: u8, path: PathBuf, user: Option<u32>) -> Result<Sandbox> {
        let netns = Netns::of_pod(path, user)?;
        let link = Addresses::of(number, self.ipv6);
        let name = format!("{:.15}", pod);
        let failed = || format!("cannot join {pod} to its peer");
        let here = self.netns.inside(|| {
            with_netlink(async |handle| {
                make_veth(&handle, &name, netns.as_fd()).await?;
                address(&handle, &name, &link.ends(false)).await.map(drop)
            })
        });
        here?.with_context(failed)?;
        let there = netns.inside(|| {
            with_netlink(async |handle| {
                set_up(&handle, "lo").await?;
                address(&handle, "eth0", &link.ends(true)).await?;
                routes(&handle, link).await
            })
        });
        there?.with_context(failed)?;
        Ok(Sandbox { netns, link })
    }
}

/// Talks to the kernel of the namespace that the calling thread is in.
fn with_netlink<T>(work: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = work(handle).await;
        connection.abort();
        Ok(result?)
    })
}

async fn make_veth(handle: &Handle, name: &str, pod: BorrowedFd<'_>) -> Result<(), rtnetlink::Error> {
    let eth0 = LinkMessageBuilder::<LinkUnspec>::new().name("eth0".to_owned()).setns_by_fd(pod.as_raw_fd()).build();
    let veth = LinkVeth::new(name, "eth0").set_info_data(InfoData::Veth(InfoVeth::Peer(eth0))).build();
    handle.link().add(veth).execute().await
}

/// Gives an interface its addresses and sets it up.
async fn address(handle: &Handle, name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), rtnetlink::Error> {
    let index = set_up(handle, name).await?;
    for (ip, prefix) in addresses {
        let mut request = handle.address().add(index, *ip, *prefix);
        if ip.is_ipv6() {
            // Nobody else can have the address: no second of waiting to find that out.
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await?;
    }
    Ok(())
}

async fn set_up(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let index = links.try_next().await?.map(|link| link.header.index).unwrap_or_default();
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    Ok(index)
}

/// Everything else is reached through the peer, as on a node.
async fn routes(handle: &Handle, link: Addresses) -> Result<(), rtnetlink::Error> {
    handle.route().add(RouteMessageBuilder::<Ipv4Addr>::new().gateway(link.peer4).build()).execute().await?;
    if let Some((_, peer6)) = link.v6 {
        handle.route().add(RouteMessageBuilder::<Ipv6Addr>::new().gateway(peer6).build()).execute().await?;
    }
    Ok(())
}
