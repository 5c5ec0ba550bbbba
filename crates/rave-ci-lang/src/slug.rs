//! Two small conventions about text: slugs, and the words in a commit message that ask for no pipeline.

/// Returns the form of a name that fits host names, as in `CI_COMMIT_REF_SLUG`: lower case, 63 characters at most.
pub fn slug(text: &str) -> String {
    let slug: String = text
        .to_lowercase()
        .chars()
        .map(|it| {
            if it.is_ascii_lowercase() || it.is_ascii_digit() {
                it
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    slug.trim_matches('-').to_owned()
}

/// Returns whether a commit message contains `[skip ci]` or `[ci skip]`; blank, `-` or `_` may stand between.
pub fn skip_ci(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    lower.match_indices('[').any(|(at, _)| {
        let inner = lower.as_bytes().get(at + 1..at + 9).unwrap_or_default();
        match inner {
            [b's', b'k', b'i', b'p', between, b'c', b'i', b']']
            | [b'c', b'i', between, b's', b'k', b'i', b'p', b']'] => {
                matches!(between, b' ' | b'\t' | b'-' | b'_')
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        let check = |text: &str, expected: &str| assert_eq!(slug(text), expected);
        check("feature/Add_X", "feature-add-x");
        check("a--b", "a--b");
        check("-a-", "a");
        check("release/1.2.3", "release-1-2-3");
        check("", "");
        check(&"ab/".repeat(40), &"ab-".repeat(21)[..62]);
    }

    #[test]
    fn skipping() {
        for message in [
            "x [skip ci]",
            "[ci skip]",
            "a\n\n[CI-Skip]\n",
            "[[skip_ci]]",
        ] {
            assert!(skip_ci(message), "{message}");
        }
        for message in [
            "skip ci",
            "[skip  ci]",
            "[skipci]",
            "[skip",
            "[skip ci",
            "é[ci",
        ] {
            assert!(!skip_ci(message), "{message}");
        }
    }
}
