//! The agent's local server: what people and the operator's tools ask this agent, on a loopback port and on the socket
//! `page.sock` in the run directory. All of it stands behind the same protections (`guard.rs`), and no answer may hold
//! more memory than there is for all of them (`budget.rs`).

mod budget;
mod guard;
mod listen;
mod listener;
pub mod page;

pub use listen::{Addresses, SOCKET};

use axum::Router;

/// The routes behind the protections.
pub(super) fn protected(routes: Router) -> Router {
    guard::protect(budget::bound(routes))
}
