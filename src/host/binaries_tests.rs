//! The image's files on the node.

use super::*;

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// An image with the plugin and a tool, and two directories on the node.
fn node() -> (tempfile::TempDir, Binaries) {
    let root = tempfile::tempdir().unwrap();
    let [source, one, two] = ["source", "one", "two"].map(|name| root.path().join(name));
    for directory in [&source, &one, &two] {
        fs::create_dir(directory).unwrap();
    }
    fs::create_dir(source.join("a directory is no binary")).unwrap();
    write(&source.join(PLUGIN), &vec![7; 200_000], 0o755);
    write(&source.join("a-tool"), b"tool", 0o555);
    let binaries = Binaries::new(&source, &[one, two]);
    (root, binaries)
}

fn put(binaries: &Binaries) -> Vec<String> {
    let file = |path: &String| path.rsplit_once("/").map(|(before, name)| (before.to_owned(), name.to_owned()));
    let copied = binaries.put().unwrap();
    let short = |(before, name): (String, String)| format!("{}/{name}", before.rsplit_once('/').unwrap().1);
    copied.iter().filter_map(file).map(short).collect()
}

#[test]
fn every_file_is_copied_to_every_directory_once() {
    let (root, binaries) = node();
    assert!(binaries.look().wants_pass());
    assert_eq!(put(&binaries), ["one/a-tool", "two/a-tool", "one/istio-cni", "two/istio-cni"]);
    assert_eq!(binaries.look(), Finding::Right);
    assert!(put(&binaries).is_empty());
    let mode = fs::metadata(root.path().join("two/a-tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o555);
}

#[test]
fn one_byte_makes_it_another_file_even_at_the_same_time() {
    let (root, binaries) = node();
    put(&binaries);
    let plugin = root.path().join("two").join(PLUGIN);
    let before = fs::metadata(&plugin).unwrap().modified().unwrap();
    let mut content = vec![7; 200_000];
    content[199_999] = 8;
    fs::write(&plugin, content).unwrap();
    File::options().write(true).open(&plugin).unwrap().set_modified(before).unwrap();
    assert!(binaries.look().trouble().unwrap().contains("two/istio-cni is not the image's"));
    assert_eq!(put(&binaries), ["two/istio-cni"]);
}

#[test]
fn a_new_image_is_installed_over_the_old_one() {
    let (root, binaries) = node();
    put(&binaries);
    write(&root.path().join("source").join(PLUGIN), b"new", 0o755);
    assert_eq!(put(&binaries), ["one/istio-cni", "two/istio-cni"]);
    assert_eq!(fs::read(root.path().join("one").join(PLUGIN)).unwrap(), b"new");
}

#[test]
fn what_killed_writers_left_is_cleared_away() {
    let (root, binaries) = node();
    let target = root.path().join("one");
    for left in ["istio-cni.tmp.4711", ".istio-cni.istio-cni-0123456789abcdef.tmp"] {
        write(&target.join(left), b"half", 0o600);
    }
    write(&target.join("bridge.tmp.1"), b"somebody else's", 0o600);
    put(&binaries);
    let mut names: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a-tool", "bridge.tmp.1", "istio-cni"]);
}

#[test]
fn only_the_plugin_is_removed_and_it_may_be_gone() {
    let (root, binaries) = node();
    put(&binaries);
    fs::remove_file(root.path().join("one").join(PLUGIN)).unwrap();
    let removed = binaries.remove().unwrap();
    assert!(removed.len() == 1 && removed[0].ends_with("two/istio-cni"), "{removed:?}");
    assert!(root.path().join("two/a-tool").exists());
    assert!(binaries.remove().unwrap().is_empty());
}

#[test]
fn what_cannot_be_copied_is_named_with_what_to_do() {
    let (root, binaries) = node();
    fs::remove_file(root.path().join("source").join(PLUGIN)).unwrap();
    let error = binaries.put().unwrap_err();
    assert_eq!(error.error_type(), ErrorType::BinaryMissing);
    assert!(error.to_string().contains("set CNI_BIN_SOURCE_DIR"), "{error}");
    write(&root.path().join("source").join(PLUGIN), b"x", 0o755);
    fs::create_dir_all(root.path().join("one").join(PLUGIN)).unwrap();
    let error = whole(&binaries.put().unwrap_err());
    assert!(error.contains("failed file copy") && error.contains("one/istio-cni"), "{error}");
    fs::remove_dir_all(root.path().join("two")).unwrap();
    let error = binaries.put().unwrap_err().to_string();
    assert!(
        error.contains("two to put the plugin in") && error.ends_with("name it with CNI_BIN_TARGET_DIRS"),
        "{error}"
    );
    assert_eq!(binaries.look().trouble(), Some(error.as_str()));
}

#[test]
fn a_link_that_leads_nowhere_keeps_nothing_else_away() {
    let (root, binaries) = node();
    std::os::unix::fs::symlink("nowhere", root.path().join("source/dangling")).unwrap();
    assert_eq!(put(&binaries), ["one/a-tool", "two/a-tool", "one/istio-cni", "two/istio-cni"]);
    assert_eq!(binaries.look(), Finding::Right);
}

#[test]
fn a_large_file_is_copied_whole() {
    let (root, binaries) = node();
    let content: Vec<u8> = (0..3_000_001_u32).map(|number| number.to_le_bytes()[1]).collect();
    write(&root.path().join("source").join(PLUGIN), &content, 0o755);
    put(&binaries);
    assert!(fs::read(root.path().join("two").join(PLUGIN)).unwrap() == content);
    assert_eq!(binaries.look(), Finding::Right);
}
