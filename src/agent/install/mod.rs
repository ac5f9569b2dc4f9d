//! The plugin on the node: put there, looked after and, when the node is left for good, taken away.

mod credentials;
mod former;
mod installation;
mod leave;
mod network;
mod network_error;
mod node;
mod run;
mod said;
mod setup;
mod watchful;

pub use installation::Installation;
pub use node::Node;
pub use run::Installer;
pub use setup::{Installed, Lent};
