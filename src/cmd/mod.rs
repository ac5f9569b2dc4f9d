//! The command line and the shells of the roles.

pub mod agent;
pub mod cli;
pub mod demo;
pub mod doctor;
pub mod explain;
mod outbound;
pub mod plugin;
mod progress;
pub mod reach;
pub mod rules;
pub mod runbook;
pub mod validate;
