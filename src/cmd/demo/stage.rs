//! Everything that the demo needs, running: namespaces, listeners, API server, OTLP receiver, agent.

use super::agent_process::{AgentProcess, Surroundings};
use super::api::Api;
use super::container::{Containers, Run};
use super::forward::Onward;
use super::isolate::Users;
use super::kubelet::reported;
use super::out::Out;
use super::packets::{LISTENERS, Probe, Redirection, Sender, plan};
use super::plugin_call::{Container, Runtime};
use super::pods::{NAMESPACE, Pod, Pods, random_sandbox_id};
use super::probe::{Landing, Listeners, send};
use super::receiver::Receiver;
use super::world::{Netns, Peer, Sandbox, Scratch};
use crate::domain::identity::TraceId;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A sample pod in its sandbox.
pub struct Actor {
    pub pod: Pod,
    /// The sandbox's id at the runtime.
    pub id: String,
    pub sandbox: Sandbox,
    /// Who can send from it, besides the peer.
    pub senders: Vec<Sender>,
}

/// The demo's machine. Dropping it stops the agent and leaves nothing; the fields go in this order.
pub struct Stage {
    agent: Option<AgentProcess>,
    pub runtime: Runtime,
    pub api: Api,
    pub receiver: Receiver,
    pub meshed: Actor,
    pub twin: Option<Actor>,
    pub plain: Actor,
    pub broken: Actor,
    pub late: Actor,
    users: Users,
    peer: Peer,
    listeners: Listeners,
    containers: Containers,
    scratch: Scratch,
}

impl Stage {
    /// Sets everything up, and tells it.
    pub async fn set(out: &mut Out, users: Users, plugin: PathBuf, onward: Option<Onward>) -> Result<Stage> {
        let scratch = Scratch::new()?;
        let namespaces = scratch.dir("netns")?;
        let peer = Peer::new(namespaces.join("peer"))?;
        let pods = Pods::new(users, peer.ipv6)?;
        let api = Api::start(pods.all()).await?;
        let receiver = Receiver::start(onward).await?;
        out.done(&format!(
            "API server with {} pods on http://{}, OTLP receiver on http://{}",
            pods.all().count(),
            api.address(),
            receiver.address()
        ))?;

        let mut number = 0;
        let mut actor = |pod: Pod, user: Sender| {
            number += 1;
            Actor::enter(pod, user, users, &peer, number, &namespaces)
        };
        let meshed = actor(pods.meshed, Sender::Application)?;
        let twin = pods.twin.map(|pod| actor(pod, Sender::Proxy)).transpose()?;
        let plain = actor(pods.plain, Sender::Application)?;
        let broken = actor(pods.broken, Sender::Application)?;
        let late = actor(pods.late, Sender::Proxy)?;
        let actors: Vec<&Actor> = [&meshed].into_iter().chain(&twin).chain([&plain, &broken, &late]).collect();
        let names: Vec<&str> = actors.iter().map(|actor| actor.pod.name).collect();
        let families = if peer.ipv6 { "IPv4 and IPv6" } else { "IPv4 alone, as IPv6 is switched off here" };
        out.done(&format!("network namespaces of {}, each joined to a peer by veth, {families}", names.join(", ")))?;

        let run_dir = scratch.dir("run")?;
        let kubeconfig = api.write_kubeconfig(&run_dir)?;
        let proc = scratch.dir("proc")?;
        actors.iter().try_for_each(|actor| actor.show_in(&proc))?;
        let around = Surroundings {
            scratch: scratch.path(),
            run_dir: &run_dir,
            kubeconfig: &kubeconfig,
            otlp: receiver.address(),
            proc: &proc,
        };
        let begun = Instant::now();
        let agent = AgentProcess::start(&around).await?;
        out.done(&format!("the agent, process {}, ready after {} ms", agent.pid(), begun.elapsed().as_millis()))?;
        let containers = Containers::new(scratch.dir("containers")?, peer.ipv6)?;
        let stage = Stage {
            agent: Some(agent),
            runtime: Runtime::new(plugin, run_dir),
            api,
            receiver,
            meshed,
            twin,
            plain,
            broken,
            late,
            users,
            peer,
            listeners: Listeners::default(),
            containers,
            scratch,
        };
        stage.listen(Sender::Peer, &stage.peer.netns, "peer")?;
        Ok(stage)
    }

    /// Starts a pod's application and its proxy, where it has one.
    pub fn start_containers(&self, actor: &Actor) -> Result<()> {
        let netns = &actor.sandbox.netns;
        [Sender::Application, Sender::Proxy].into_iter().try_for_each(|who| self.listen(who, netns, actor.pod.name))
    }

    /// Somebody listens, with the sockets of the user that it stands for, where there can be several.
    fn listen(&self, who: Sender, netns: &Netns, name: &str) -> Result<()> {
        let user = if self.users == Users::Any { who.uid() } else { None };
        let mut own = LISTENERS.iter().filter(|(listener, _)| *listener == who);
        own.try_for_each(|(_, ports)| self.listeners.add(netns, name, ports, self.peer.ipv6, user))
    }

    /// Runs a pod's validation container.
    pub async fn validate(&self, actor: &Actor) -> Result<Run> {
        let pause = actor.sandbox.netns.pause().context("the pod has no process")?;
        self.containers.validate(&actor.pod, pause).await
    }

    /// What the kubelet reports to the API server once the validation has run so often.
    pub fn report(&self, actor: &Actor, runs: &[Run]) {
        self.api.replace(reported(actor, runs));
    }

    /// Every pod.
    pub fn actors(&self) -> impl Iterator<Item = &Actor> {
        [&self.meshed].into_iter().chain(&self.twin).chain([&self.plain, &self.broken, &self.late])
    }

    /// Takes everything down, and makes sure that it is.
    pub fn clear(self) -> Result<()> {
        let path = self.scratch.path().to_owned();
        drop(self);
        anyhow::ensure!(!path.exists(), "{} could not be removed", path.display());
        Ok(())
    }

    /// Sends every packet that `redirection` says something about, and holds against what must become of it.
    /// The first that lands elsewhere is an error.
    pub fn send_all(&self, actor: &Actor, redirection: Redirection) -> Result<Vec<(Probe, Landing)>> {
        let peer = [Sender::Peer];
        let senders: Vec<Sender> = actor.senders.iter().copied().chain(peer).collect();
        plan(redirection, actor.sandbox.link, &senders).into_iter().map(|probe| self.send(actor, probe)).collect()
    }

    /// Sends to a pod whose inbound rule is gone.
    pub fn send_past_the_proxy(&self, actor: &Actor) -> Result<(Probe, Landing)> {
        let inbound = plan(Redirection::None, actor.sandbox.link, &[Sender::Peer]).into_iter().next();
        self.send(actor, inbound.context("there is no probe of inbound traffic")?)
    }

    fn send(&self, actor: &Actor, probe: Probe) -> Result<(Probe, Landing)> {
        let (netns, user) = match (probe.from, self.users) {
            (Sender::Peer, _) => (&self.peer.netns, None),
            (_, Users::One) => (&actor.sandbox.netns, None),
            (sender, Users::Any) => (&actor.sandbox.netns, sender.uid()),
        };
        let landed = send(netns, user, probe.protocol, probe.to);
        let what = || format!("the packet from {} of {} to {} ({})", probe.from, actor.name(), probe.to, probe.meaning);
        let landing = landed.with_context(|| format!("{} was lost", what()))?;
        anyhow::ensure!(
            probe.is_met_by(actor.pod.name, &landing),
            "{} landed at {}:{} and not at port {} of {}{}",
            what(),
            landing.at,
            landing.port,
            probe.port,
            if probe.in_pod { actor.pod.name } else { "peer" },
            match landing.original {
                Some(original) if original != probe.to => format!(", with {original} as its destination"),
                _ => String::new(),
            }
        );
        Ok((probe, landing))
    }

    /// Stops the agent; all that it had to export has been received when this returns.
    pub async fn stop_agent(&mut self) -> Result<()> {
        match self.agent.take() {
            Some(agent) => agent.stop().await,
            None => Ok(()),
        }
    }
}

impl Actor {
    fn enter(pod: Pod, user: Sender, users: Users, peer: &Peer, number: u8, namespaces: &Path) -> Result<Actor> {
        let (only, senders) = match users {
            Users::Any => (None, vec![Sender::Application, Sender::Proxy]),
            Users::One => (user.uid(), vec![user]),
        };
        let sandbox = peer.join(pod.name, number, namespaces.join(pod.name), only)?;
        Ok(Actor { id: random_sandbox_id()?, pod, sandbox, senders })
    }

    /// `namespace/name`.
    pub fn name(&self) -> String {
        format!("{NAMESPACE}/{}", self.pod.name)
    }

    /// Whether the proxy's user can be in it, who validates.
    pub fn has_proxy(&self) -> bool {
        self.senders.contains(&Sender::Proxy)
    }

    /// Shows the pod's process, with the cgroup that a runtime would have given it, in a `/proc`.
    fn show_in(&self, proc: &Path) -> Result<()> {
        let Some(pid) = self.sandbox.netns.pause() else { return Ok(()) };
        let (real, shown) = (PathBuf::from(format!("/proc/{pid}")), proc.join(pid.to_string()));
        let failed = || format!("cannot make {}", shown.display());
        fs::create_dir(&shown).with_context(failed)?;
        ["ns", "stat"].iter().try_for_each(|file| symlink(real.join(file), shown.join(file))).with_context(failed)?;
        let cgroup = format!("0::/kubepods/pod{}/{}\n", self.pod.uid, self.id);
        fs::write(shown.join("cgroup"), cgroup).with_context(failed)
    }

    /// The pod's trace.
    pub fn trace(&self) -> TraceId {
        TraceId::of_pod(&self.pod.uid)
    }

    /// For a call of the plugin.
    pub fn container(&self) -> Container<'_> {
        Container { id: &self.id, pod: &self.pod, sandbox: &self.sandbox }
    }
}
