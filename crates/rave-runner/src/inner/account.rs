//! As whom an image's programs run: its own idea of users and groups.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// The longest file of accounts that is believed.
const LONGEST: u64 = 4 << 20;

/// A user, as the image's files know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// More groups that have it as a member.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

impl Account {
    /// Root, wherever its home may be.
    pub(super) fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/root".to_owned(),
        }
    }
}

/// Looks up `USER`, `USER:GROUP`, or numbers in their place, in the root as it is now. Nothing means root.
pub(super) fn find(text: &str) -> Result<Account, String> {
    look_up(text, &read("/etc/passwd"), &read("/etc/group"))
}

/// Reads a file of the image, which may be anything: a pipe, or a link to what has no end.
fn read(path: &str) -> String {
    let opened = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path);
    let mut bytes = Vec::new();
    if let Ok(file) = opened {
        // What cannot be read is as good as empty, and the user is then looked for by number.
        let _ = file.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn look_up(text: &str, passwd: &str, group: &str) -> Result<Account, String> {
    let (user, group_name) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|it| !it.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let users = passwd.lines().map(|it| it.split(':').collect::<Vec<_>>());
    let known = users
        .filter(|it| it.len() >= 6)
        .find(|it| it[0] == user || it[2] == user);
    let number = |field: &str| {
        field
            .parse::<u32>()
            .ok()
            .filter(|it| *it < crate::image::IDS)
    };
    let uid = known.as_ref().and_then(|it| number(it[2])).or(number(user));
    let uid = uid.ok_or_else(|| format!("the image has no user {user:?}"))?;
    let groups: Vec<Vec<&str>> = group.lines().map(|it| it.split(':').collect()).collect();
    let gid = match group_name {
        None => known.as_ref().and_then(|it| number(it[3])).unwrap_or(0),
        Some(name) => {
            let found = groups.iter().find(|it| it.len() >= 3 && it[0] == name);
            let gid = found.and_then(|it| number(it[2])).or(number(name));
            gid.ok_or_else(|| format!("the image has no group {name:?}"))?
        }
    };
    let member = |it: &&Vec<&str>| {
        let name = known.as_ref().map(|it| it[0]);
        it.len() >= 4 && name.is_some_and(|name| it[3].split(',').any(|it| it == name))
    };
    let more = groups.iter().filter(member).filter_map(|it| number(it[2]));
    Ok(Account {
        uid,
        gid,
        // Whoever names a group gets that one only.
        groups: if group_name.is_some() {
            Vec::new()
        } else {
            more.filter(|it| *it != gid).take(64).collect()
        },
        home: known.map_or("/", |it| it[5]).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nnode:x:1001:\ndocker:x:999:node,other\nbroken\n";

    fn check(text: &str, uid: u32, gid: u32, groups: &[u32], home: &str) {
        let account = look_up(text, PASSWD, GROUP).expect("an account");
        let expected = Account {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        };
        assert_eq!(account, expected, "{text:?}");
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        check("", 0, 0, &[], "/root");
        check("node", 1000, 1001, &[999], "/home/node");
        check("1000", 1000, 1001, &[999], "/home/node");
        check("node:docker", 1000, 999, &[], "/home/node");
        check("7:8", 7, 8, &[], "/");
        check("77", 77, 0, &[], "/");
        for text in ["nobody", "node:nothing", "70000", "-1"] {
            assert!(look_up(text, PASSWD, GROUP).is_err(), "{text}");
        }
    }
}
