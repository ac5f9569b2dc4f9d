//! What a ruleset is in nf_tables: inet tables, base chains on their hooks, and each rule as the
//! kernel's expressions. A plan is what is sent, and what is compared with what is there.

use super::expr::Expr;
use super::lower::{leave_ipv6_alone, lower};
use crate::domain::ruleset::{Chain, Ruleset, Table};

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

/// How a base chain hangs on its hook. The policy is always accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub kind: String,
    /// `NF_INET_*`.
    pub hook: u32,
    pub priority: i32,
}

/// Our tables, whether they are wanted or not, in the order in which they are made.
pub const TABLES: [Table; 3] = [Table::Nat, Table::Mangle, Table::Raw];

/// The table's name in nf_tables.
pub const fn table_name(table: Table) -> &'static str {
    match table {
        Table::Nat => "istio-proxy-nat",
        Table::Mangle => "istio-proxy-mangle",
        Table::Raw => "istio-proxy-raw",
    }
}

/// Plans the tables of a ruleset; a table without rules is left out.
pub fn plan(ruleset: &Ruleset) -> Vec<PlannedTable> {
    let chains = |table| ruleset.chains.iter().filter(move |chain| chain.table == table && !chain.rules.is_empty());
    TABLES
        .into_iter()
        .map(|table| PlannedTable {
            name: table_name(table),
            chains: chains(table)
                .map(|chain| PlannedChain {
                    name: chain.chain.nft_name(),
                    base: base(table, chain.chain),
                    rules: leave_ipv6_alone(ruleset, chain.chain)
                        .into_iter()
                        .chain(chain.rules.iter().flat_map(lower))
                        .collect(),
                })
                .collect(),
        })
        .filter(|table| !table.chains.is_empty())
        .collect()
}

/// The hook of a base chain, at the reference's priorities.
fn base(table: Table, chain: Chain) -> Option<Base> {
    let hook = match chain {
        Chain::Prerouting => libc::NF_INET_PRE_ROUTING,
        Chain::Output => libc::NF_INET_LOCAL_OUT,
        _ => return None,
    };
    let (kind, priority) = match (table, chain) {
        (Table::Nat, _) => ("nat", -100),
        // A mark set on an outgoing packet must make the kernel look its route up again.
        (Table::Mangle, Chain::Output) => ("route", -150),
        (Table::Mangle, _) => ("filter", -150),
        (Table::Raw, _) => ("filter", -300),
    };
    Some(Base { kind: kind.to_owned(), hook: hook.cast_unsigned(), priority })
}
