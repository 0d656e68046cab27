//! `docs/faults.md` names the test of every fault: each test that it names exists, and each test here is named in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The tests of a file below `tests/`, as `module::name`.
fn tests(file: &str, module: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file)).unwrap();
    let names = text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
    names.map(|(name, _)| format!("{module}::{name}")).collect()
}

#[test]
fn every_fault_in_the_document_has_its_test() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault"));
    let named: BTreeSet<String> = rows
        .flat_map(|row| {
            let last = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
            let names: Vec<_> = last.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            assert!(!names.is_empty(), "no test is named: {row}");
            names
        })
        .collect();
    let mut here = BTreeSet::new();
    for module in ["always", "bodies", "connections", "disk", "signals", "statuses"] {
        here.extend(tests(&format!("faults/{module}.rs"), &format!("faults::{module}")));
    }
    for module in ["always", "files", "machine", "server"] {
        here.extend(tests(&format!("batch/faults/{module}.rs"), &format!("batch::faults::{module}")));
    }
    let unnamed: Vec<_> = here.difference(&named).collect();
    assert!(unnamed.is_empty(), "not in docs/faults.md: {unnamed:?}");
    here.extend(tests("interrupted.rs", "interrupted"));
    here.extend(tests("batch/collect.rs", "batch::collect"));
    here.extend(tests("batch/flow.rs", "batch::flow"));
    here.extend(tests("batch/kills.rs", "batch::kills"));
    let unknown: Vec<_> = named.difference(&here).collect();
    assert!(unknown.is_empty(), "docs/faults.md names tests that do not exist: {unknown:?}");
}
