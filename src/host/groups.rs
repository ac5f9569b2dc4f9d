//! The node's groups by name, from `/etc/group`: the file that iptables' tools look into, and no
//! directory service, which could keep a pod waiting.

use std::path::Path;

/// The id of the group of this name, if the node has one.
pub fn id_of(name: &str) -> Option<u32> {
    id_in(Path::new("/etc/group"), name)
}

/// Lines are `NAME:PASSWORD:ID:MEMBERS` (man 5 group). A file that cannot be read has no groups.
fn id_in(file: &Path, name: &str) -> Option<u32> {
    let text = String::from_utf8_lossy(&std::fs::read(file).ok()?).into_owned();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("group");
        std::fs::write(&file, b"root:x:0:\nstaff:x:50:a,b\nst\xffr:x:7:\nodd\nbad:x:y:\n").unwrap();
        let ids = ["root", "staff", "sta", "x", "odd", "bad", ""].map(|name| id_in(&file, name));
        assert_eq!(ids, [Some(0), Some(50), None, None, None, None, None]);
        assert_eq!(id_in(&directory.path().join("none"), "root"), None);
    }
}
