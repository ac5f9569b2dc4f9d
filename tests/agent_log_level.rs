//! How much is logged, and what is said of settings that are none: the real agent, its environment and
//! the file in its run directory.

mod support;

use nix::sys::signal::Signal;
use support::agent::Agent;
use support::api::Api;
use support::*;

fn said(agent: &Agent, text: &str) -> usize {
    agent.log.iter().filter(|line| line["msg"].as_str().is_some_and(|message| message.contains(text))).count()
}

#[test]
fn the_file_in_the_run_directory_wins_while_it_is_there() {
    let (node, api) = (Node::new(), Api::start());
    node.write_kubeconfig(&format!("http://{}", api.address));
    let file = node.path("log-level");
    std::fs::write(&file, "cni-agent:debug,cni-plugin:warn\n").unwrap();
    let mut agent = Agent::start_with(&node, &[("LOG_OUTPUT_LEVEL", "info")]);
    let as_file_says = format!("as {} says", file.display());
    agent.wait_for(&format!("the agent logs at level debug and plugins at level warn now, {as_file_says}"));
    agent.wait_for("the level of this log is debug now");

    std::fs::write(&file, "loud").unwrap();
    let warning =
        agent.wait_for(&format!("the file {} is ignored: \"loud\" cannot be used: it takes a level", file.display()));
    assert_eq!(warning["level"], "warn");
    agent.wait_for("the agent logs at level info and plugins at level info now, as the configuration says");
    agent.wait_for("the level of this log is info now");
    // Each signal is answered, and has the file looked at again; the warning is not repeated.
    agent.signal(Signal::SIGUSR1);
    agent.wait_for("the level of this log is debug now");
    agent.signal(Signal::SIGUSR2);
    agent.wait_for("the level of this log is info now");

    std::fs::write(&file, "none").unwrap();
    agent.wait_for(&format!("the agent logs at level none and plugins at level none now, {as_file_says}"));
    std::fs::remove_file(&file).unwrap();
    agent.wait_for("the agent logs at level info and plugins at level info now, as the configuration says");
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    assert_eq!(said(&agent, "is ignored: "), 1);
}

#[test]
fn settings_that_are_none_are_named_once_with_the_one_that_was_meant() {
    let (node, api) = (Node::new(), Api::start());
    node.write_kubeconfig(&format!("http://{}", api.address));
    let environment = [
        ("CNI_CONF_NAM", "secret-value"),
        ("REPAIR_EVERYTHING", "true"),
        ("CNI_SERVICE_HOST", "10.0.0.1"),
        ("CNI_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("CNI_NETNS", "/run/netns/x"),
        ("REPAIR_RUN_AS_DAEMON", "true"),
    ];
    let mut agent = Agent::start_with(&node, &environment);
    agent.wait_for("CNI_CONF_NAM is ignored: the agent has no such setting; did you mean CNI_CONF_NAME?");
    agent.wait_for("REPAIR_EVERYTHING is ignored: the agent has no such setting: remove it, or look");
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    assert_eq!((said(&agent, "is ignored: "), said(&agent, "secret-value")), (2, 0));
}
