//! The plugin on the node: put there, looked after and, when the node is left for good, taken away.

mod credentials;
mod installation;
mod network;
mod node;
mod run;
mod said;

pub use installation::{Around, Installation};
pub use node::Node;
pub use run::Installer;
