//! Which tag the version of a component stands for.
//!
//! There is no catalog of releases, so tags count: `~latest` is the newest of those that read as semantic versions, `1` and
//! `1.2` the newest that begin so. A tag of exactly that name comes first.

/// Returns the tag that a version stands for. `None`: it is no tag, but perhaps a branch or a commit.
pub(super) fn tag_of<'a>(version: &str, tags: &'a [String]) -> Option<&'a str> {
    if let Some(exact) = tags.iter().find(|it| *it == version) {
        return Some(exact);
    }
    let prefix: Vec<u64> = match version {
        "~latest" => Vec::new(),
        _ => {
            let parts: Option<Vec<u64>> = version.split('.').map(number).collect();
            parts.filter(|it| it.len() < 3)?
        }
    };
    tags.iter()
        .filter_map(|tag| Some((released(tag)?, tag.as_str())))
        .filter(|(version, _)| version.starts_with(&prefix))
        .max()
        .map(|(_, tag)| tag)
}

/// Reads a tag such as `1.2.3` or `v1.2.3`. Versions that are only on their way, such as `1.2.3-rc1`, do not count.
fn released(tag: &str) -> Option<[u64; 3]> {
    let tag = tag.strip_prefix('v').unwrap_or(tag);
    let tag = tag.split_once('+').map_or(tag, |it| it.0);
    let parts: Option<Vec<u64>> = tag.split('.').map(number).collect();
    parts?.try_into().ok()
}

fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|it| it.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (plain && canonical).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_for_the_newest_tag() {
        let tags = "1.2.3 1.10.0 1.10.1-rc1 v2.0.0 0.9.0+linux latest 3 1.02.9 10.0"
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let check = |version: &str, expected: Option<&str>| {
            assert_eq!(tag_of(version, &tags), expected, "{version}");
        };
        check("~latest", Some("v2.0.0"));
        check("1", Some("1.10.0"));
        check("1.2", Some("1.2.3"));
        check("1.2.3", Some("1.2.3"));
        check("2", Some("v2.0.0"));
        check("0.9", Some("0.9.0+linux"));
        check("3", Some("3"));
        check("1.10.1-rc1", Some("1.10.1-rc1"));
        check("latest", Some("latest"));
        check("4", None);
        check("1.2.4", None);
        check("main", None);
        check("", None);
        assert_eq!(tag_of("~latest", &[]), None);
    }
}
