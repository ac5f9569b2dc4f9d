//! Trees of spans as they should be, and as they should not be.

use super::*;
use opentelemetry_proto::tonic::trace::v1::Status;

fn span(id: u16, parent: u16, start: u64, end: u64) -> Span {
    let bytes = |id: u16| if id == 0 { Vec::new() } else { [[0; 6].as_slice(), &id.to_be_bytes()].concat() };
    Span {
        trace_id: vec![7; 16],
        span_id: bytes(id),
        parent_span_id: bytes(parent),
        name: format!("s{id}"),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

fn failed(span: Span, message: &str) -> Span {
    Span { status: Some(Status { code: StatusCode::Error.into(), message: message.to_owned() }), ..span }
}

fn shape(spans: &[Span]) -> Vec<Vec<String>> {
    let line = |row: &Row| format!("{}{}", "-".repeat(row.depth), row.span.name);
    trees(spans, &[]).iter().map(|tree| tree.rows.iter().map(line).collect()).collect()
}

#[test]
fn children_stand_below_their_parents_in_the_order_of_their_starts() {
    let spans = [span(3, 1, 30, 40), span(2, 1, 10, 20), span(1, 9, 0, 50), span(4, 3, 31, 32)];
    assert_eq!(shape(&spans), [["s1", "-s2", "-s3", "--s4"]]);
    let rows = &trees(&spans, &[])[0].rows;
    let below: Vec<_> = rows.iter().map(|row| (row.below, row.within)).collect();
    assert_eq!(below, [(3, None), (0, Some("s1")), (1, Some("s1")), (0, Some("s3"))]);
}

#[test]
fn each_span_whose_parent_is_elsewhere_begins_a_tree_with_its_own_scale() {
    let spans = [span(1, 9, 100, 200), span(2, 9, 900, 950), span(3, 2, 910, 990)];
    assert_eq!(shape(&spans), [vec!["s1"], vec!["s2", "-s3"]]);
    let tree = &trees(&spans, &[])[1];
    assert_eq!((tree.began_ns, tree.ended_ns), (900, 990), "a child that ends after its parent counts too");
}

#[test]
fn spans_that_are_each_others_parents_are_shown_once() {
    let spans = [span(1, 2, 0, 10), span(2, 1, 1, 9), span(3, 9, 0, 1), span(4, 4, 5, 6)];
    assert_eq!(shape(&spans), [vec!["s3"], vec!["s1", "-s2"], vec!["s4"]]);
}

#[test]
fn a_very_deep_trace_neither_ends_the_process_nor_leaves_the_page() {
    let spans: Vec<Span> = (1..=20_000).map(|id| span(id, id - 1, u64::from(id), 30_000)).collect();
    let tree = trees(&spans, &[]).remove(0);
    assert_eq!((tree.rows.len(), tree.rows.last().unwrap().depth), (20_000, DEEPEST));
}

#[test]
fn an_error_stands_where_it_was_born() {
    let spans = [
        failed(span(1, 9, 0, 50), "no"),
        failed(span(2, 1, 1, 9), "no"),
        span(3, 1, 10, 20),
        failed(span(4, 3, 11, 12), "else"),
    ];
    let trees = trees(&spans, &[]);
    let errors: Vec<_> = trees[0].rows.iter().map(|row| (row.failed(), row.error)).collect();
    assert_eq!(errors, [(true, None), (true, Some("no")), (false, None), (true, Some("else"))]);
}

#[test]
fn log_records_stand_at_their_span_or_alone() {
    let log = |id: u16| LogRecord { span_id: span(id, 0, 0, 0).span_id, ..LogRecord::default() };
    let (spans, logs) = ([span(1, 9, 0, 50)], [log(1), log(7), log(0)]);
    assert_eq!(trees(&spans, &logs)[0].rows[0].logs.len(), 1);
    assert_eq!(strays(&spans, &logs).len(), 2);
}

#[test]
fn a_branch_is_what_is_below_one_span() {
    let spans = [span(1, 9, 0, 50), span(2, 1, 10, 20), span(3, 2, 12, 13), span(4, 1, 30, 31)];
    let branch = branch(&spans, &[], &span(2, 0, 0, 0).span_id).unwrap();
    assert_eq!((branch.rows.len(), branch.began_ns, branch.ended_ns), (2, 10, 20));
    assert!(super::branch(&spans, &[], &[1]).is_none());
}
