//! The rules on this repository.

use std::path::Path;

use mediahost_tidy::{RULES, Tree};

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root).unwrap();
    let complaints: Vec<String> = RULES
        .iter()
        .flat_map(|(promise, rule)| rule(&tree).into_iter().map(move |what| format!("{promise}\n    {what}")))
        .collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
}
