//! The node agent: build → bind → run. Serves the plugin's calls from a cache of this node's pods.

mod aftercare;
pub mod app;
pub mod audit;
mod backend;
mod choice;
mod claims;
pub mod config;
pub mod departure;
pub mod doctor;
mod http;
mod inflight;
pub mod install;
pub mod local;
pub mod log_control;
pub mod notices;
mod pods;
mod readiness;
mod repair;
mod run;
mod server;
mod service;
pub mod site;
mod socket_name;
pub mod spool;
mod tasks;
pub mod validations;
