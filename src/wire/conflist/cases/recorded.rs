//! What the CNI project's own library (libcni 1.3.0) said of many files, most of them slightly wrong: read by its
//! `ConfFromFile` and `ConfListFromConf`, or by its `ConfListFromFile`.

use super::*;

#[derive(serde::Deserialize)]
struct Recorded {
    file: String,
    text: String,
    valid: bool,
}

#[test]
fn a_file_is_usable_exactly_when_the_cni_library_takes_it() {
    let lines = include_str!("../../../../tests/data/conflist/libcni.jsonl").lines();
    let mut seen = [0, 0];
    for recorded in lines.map(|line| serde_json::from_str::<Recorded>(line).unwrap()) {
        let scene = Scene::new(&[(&recorded.file, &recorded.text)]);
        let skipped = scene.decide(&first_found()).skipped;
        assert_eq!(skipped.is_empty(), recorded.valid, "{}: {}: {skipped:?}", recorded.file, recorded.text);
        seen[usize::from(recorded.valid)] += 1;
    }
    assert!(seen.iter().all(|number| *number > 100), "{seen:?}");
}
