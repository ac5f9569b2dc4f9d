//! Is this an uninstall? The real client against API servers in every mood: what is asked for when the
//! agent is told to stop, and the watch that knows before it is.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

#[path = "departure/agent.rs"]
mod agent;
#[path = "departure/asked.rs"]
mod asked;
#[path = "departure/objects.rs"]
mod objects;
mod support;
#[path = "departure/watched.rs"]
mod watched;
