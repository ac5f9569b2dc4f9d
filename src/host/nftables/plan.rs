//! The tables of a ruleset with each rule as the kernel's expressions: what is sent, and what is
//! compared with what is there.

use super::expr::Expr;
use super::lower::lower;
use crate::domain::nft::{self, nft_chains, table_name};
use crate::domain::ruleset::{Ruleset, Table};

/// One table that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct PlannedTable {
    pub name: &'static str,
    pub chains: Vec<PlannedChain>,
}

/// One chain that is wanted, with its rules in order.
#[derive(Debug, PartialEq, Eq)]
pub struct PlannedChain {
    pub name: &'static str,
    pub base: Option<Base>,
    pub rules: Vec<Vec<Expr>>,
}

/// How a base chain hangs on its hook, as the kernel says it. The policy is always accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub kind: String,
    /// `NF_INET_*`.
    pub hook: u32,
    pub priority: i32,
}

impl From<nft::Base> for Base {
    fn from(base: nft::Base) -> Base {
        Base { kind: base.kind.name().to_owned(), hook: base.hook.number(), priority: base.priority }
    }
}

/// Plans the tables of a ruleset; a table without rules is left out.
pub fn plan(ruleset: &Ruleset) -> Vec<PlannedTable> {
    let chains = nft_chains(ruleset);
    let of_table = |table: Table| PlannedTable {
        name: table_name(table),
        chains: chains
            .iter()
            .filter(|chain| chain.table == table)
            .map(|chain| PlannedChain {
                name: chain.chain.nft_name(),
                base: chain.base.map(Base::from),
                rules: chain.rules.iter().flat_map(lower).collect(),
            })
            .collect(),
    };
    Table::ALL.into_iter().map(of_table).filter(|table| !table.chains.is_empty()).collect()
}
