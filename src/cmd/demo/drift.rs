//! Somebody else takes a rule of ours away.

use super::stage::Actor;
use crate::domain::decision::{Decision, decide};
use crate::domain::failure::Failure;
use crate::domain::request::{Backend, Bounds};
use crate::domain::ruleset::{Chain, Ruleset, Table, build};
use crate::domain::step::Step;
use crate::host::kernel::HostNamespaces;
use crate::k8s::pod::Pod as ApiPod;
use crate::ops::ports::{BoxedError, Namespaces};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::os::fd::AsFd;

/// Makes the pod's namespace have all of its rules but the one that sends inbound traffic to the proxy; returns the
/// name of the chain that it was in.
pub fn take_the_inbound_rule(actor: &Actor, backend: &str) -> Result<&'static str> {
    let backend = [Backend::Nftables, Backend::Iptables].into_iter().find(|known| known.name() == backend);
    let backend = backend.context("the agent did not say what programmed the rules")?;
    let pod = ApiPod::deserialize(&actor.pod.object)?.into_facts();
    let Decision::Enroll(settings) = decide(&pod)? else { bail!("{} is not a meshed pod", actor.name()) };
    let work = HostNamespaces::FreshThread.inside(
        actor.sandbox.netns.as_fd(),
        backend,
        &Bounds::default(),
        Box::new(|kernel| {
            let failed = |error: BoxedError| Failure::from_error(Step::RulesApply, &error);
            let addresses = kernel.addresses().map_err(failed)?;
            let rules = build(&settings, &addresses).map_err(BoxedError::new).map_err(failed)?;
            kernel.apply(&without_the_inbound_rule(rules)).map_err(failed)
        }),
    );
    let applied = work??;
    match applied.backend {
        Backend::Iptables => Ok(Chain::Inbound.iptables_name()),
        _ => Ok(Chain::Inbound.nft_name()),
    }
}

/// The last rule of the inbound chain sends on to the proxy what no rule before it left alone.
fn without_the_inbound_rule(mut rules: Ruleset) -> Ruleset {
    for chain in &mut rules.chains {
        if (chain.table, chain.chain) == (Table::Nat, Chain::Inbound) {
            chain.rules.pop();
        }
    }
    rules
}
