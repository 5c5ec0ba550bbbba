//! What the name of an environment tells: its tier, and a short form that fits host names.

use sha2::{Digest, Sha256};

use crate::Environment;

/// Words in names, and the tier that they speak for. The first that is found counts.
const WORDS: [(&str, &[&str]); 4] = [
    ("development", &["dev", "review", "trunk"]),
    (
        "testing",
        &[
            "test", "tst", "int", "acpt", "accept", "qa", "qc", "control", "quality",
        ],
    ),
    ("staging", &["stg", "stag", "mod", "pre", "demo", "non"]),
    ("production", &["prd", "prod", "live"]),
];
const MAX_SLUG: usize = 24;
const CUT_SLUG: usize = 17;
const DIGEST_DIGITS: usize = 6;

impl Environment {
    /// Returns the tier that is given, or the one that the name speaks for.
    pub fn tier(&self) -> &str {
        self.tier_as(&self.name)
    }

    /// Like [`Environment::tier`], of an environment that is going to have this name.
    pub(crate) fn tier_as(&self, name: &str) -> &str {
        match &self.deployment_tier {
            Some(tier) => tier,
            None => guess_tier(name),
        }
    }

    /// Returns a short form of the name that differs between environments, as in `CI_ENVIRONMENT_SLUG`.
    pub fn slug(&self) -> String {
        environment_slug(&self.name)
    }
}

fn guess_tier(name: &str) -> &'static str {
    let name = name.to_lowercase();
    let speaks = |words: &[&str]| {
        words.iter().any(|it| match *it {
            "mod" => name.contains("model") || name.contains("modl"),
            word => name.contains(word),
        })
    };
    let tier = WORDS.iter().find(|it| speaks(it.1));
    tier.map_or("other", |it| it.0)
}

/// Returns the slug of the environment of that name.
pub fn environment_slug(name: &str) -> String {
    let mut slug = String::new();
    for char in name.to_lowercase().chars() {
        let kept = if char.is_ascii_lowercase() || char.is_ascii_digit() {
            char
        } else {
            '-'
        };
        slug.push(kept);
    }
    if !slug.starts_with(|it: char| it.is_ascii_lowercase()) {
        slug.insert_str(0, "env-");
    }
    while slug.contains("--") {
        slug = slug.replace("--", "-");
    }
    if slug.len() <= MAX_SLUG && slug == name {
        return slug;
    }
    slug.truncate(CUT_SLUG);
    if slug.ends_with('-') {
        slug.pop();
    }
    format!("{slug}-{}", digest(name))
}

/// Returns the last digits of a name's SHA-256 in base 36.
fn digest(name: &str) -> String {
    const BASE: u64 = 36;
    let modulus = BASE.pow(6);
    let mut rest = Sha256::digest(name)
        .iter()
        .fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % modulus);
    let mut digits = Vec::with_capacity(DIGEST_DIGITS);
    for _ in 0..DIGEST_DIGITS {
        let digit = u32::try_from(rest % BASE).unwrap_or(0);
        digits.extend(char::from_digit(digit, 36));
        rest /= BASE;
    }
    digits.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        let check = |name: &str, expected: &str| assert_eq!(environment_slug(name), expected);
        check("production", "production");
        check("review/foo", "review-foo-xd0pc1");
        check("Staging", "staging-p75vhx");
        check("1prod", "env-1prod-3f6p1a");
        check("review/a-very-long-branch-name", "review-a-very-lon-vgbi69");
        check("prod.", "prod-321g91");
        check("a_b", "a-b-73vpuq");
    }

    #[test]
    fn tiers() {
        let check = |name: &str, expected: &str| assert_eq!(guess_tier(name), expected, "{name}");
        check("review/x", "development");
        check("DEV", "development");
        check("qa-2", "testing");
        check("integration", "testing");
        check("staging", "staging");
        check("pre-prod", "staging");
        check("model", "staging");
        check("modern", "other");
        check("prd", "production");
        check("live", "production");
        check("customer", "other");
        let given = Environment {
            name: "prod".to_owned(),
            deployment_tier: Some("testing".to_owned()),
            ..Environment::default()
        };
        assert_eq!(given.tier(), "testing");
    }
}
