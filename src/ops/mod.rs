//! Use cases as sequences of steps, and the traits that the rooms below them implement.

pub mod attempt;
pub mod diagnose;
pub mod enroll;
pub mod examine;
pub mod install;
pub mod ports;
pub mod repair;
pub mod validate;
