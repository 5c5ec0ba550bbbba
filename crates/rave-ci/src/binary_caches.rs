//! Binary caches in a job: Nix finds them by `NIX_CONFIG`, with the job's own token, and there is nothing to set up.
//!
//! A job that sets `NIX_CONFIG` itself can take ours in by `$RAVE_NIX_CONFIG`.

use rave_ci_lang::Variable;
use rave_core::port::JobCache;

/// The file with the job's token. Nix reads its path; the runner writes it.
const NETRC: &str = "RAVE_CACHE_NETRC";

/// Returns the variables by which a job uses its project's caches, none without caches.
pub(crate) fn variables(caches: &[JobCache], token: &str) -> Vec<Variable> {
    let Some(first) = caches.iter().find(|it| it.may_push).or(caches.first()) else {
        return Vec::new();
    };
    let config = Variable::public("RAVE_NIX_CONFIG", nix_config(caches));
    let same = Variable {
        key: "NIX_CONFIG".to_owned(),
        ..config.clone()
    };
    let netrc = Variable {
        key: NETRC.to_owned(),
        value: netrc(caches, token),
        file: true,
        ..Variable::default()
    };
    let own = Variable {
        key: "RAVE_CACHE_TOKEN".to_owned(),
        value: token.to_owned(),
        raw: true,
        masked: true,
        ..Variable::default()
    };
    let url = Variable::public("RAVE_CACHE_URL", &*first.url);
    vec![netrc, config, same, url, own]
}

/// A cache that fails must not fail the job: what it does not give is asked for elsewhere or built.
fn nix_config(caches: &[JobCache]) -> String {
    let urls: Vec<&str> = caches.iter().map(|it| it.url.as_str()).collect();
    let keys: Vec<&str> = caches
        .iter()
        .flat_map(|it| &it.public_keys)
        .map(String::as_str)
        .collect();
    format!(
        "extra-substituters = {}\nextra-trusted-public-keys = {}\nnetrc-file = ${NETRC}\nfallback = true\nconnect-timeout = 5",
        urls.join(" "),
        keys.join(" "),
    )
}

fn netrc(caches: &[JobCache], token: &str) -> String {
    let mut hosts: Vec<&str> = caches.iter().filter_map(|it| host(&it.url)).collect();
    hosts.dedup();
    hosts
        .iter()
        .map(|it| format!("machine {it} password {token}\n"))
        .collect()
}

/// Returns the host of a URL as netrc files name it: without a port.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => Some(host),
        _ => Some(authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(name: &str, may_push: bool) -> JobCache {
        JobCache {
            name: name.to_owned(),
            url: format!("http://rave.test:8080/-/cache/{name}"),
            public_keys: vec![format!("{name}:AAAA")],
            may_push,
        }
    }

    #[test]
    fn a_job_has_its_caches_and_its_token_for_them() {
        let found = variables(&[cache("a", false), cache("b", true)], "glcbt-x");
        let value = |key: &str| &found.iter().find(|it| it.key == key).expect("set").value;
        assert_eq!(
            value("NIX_CONFIG"),
            "extra-substituters = http://rave.test:8080/-/cache/a http://rave.test:8080/-/cache/b\n\
             extra-trusted-public-keys = a:AAAA b:AAAA\n\
             netrc-file = $RAVE_CACHE_NETRC\nfallback = true\nconnect-timeout = 5"
        );
        assert_eq!(value(NETRC), "machine rave.test password glcbt-x\n");
        assert!(value("RAVE_CACHE_URL").ends_with("/b"), "where it may push");
        assert!(variables(&[], "glcbt-x").is_empty());
    }

    #[test]
    fn hosts_have_no_ports() {
        for (url, expected) in [
            ("https://a.example/x", "a.example"),
            ("http://[::1]:80/", "[::1]"),
            ("http://1.2.3.4:80", "1.2.3.4"),
        ] {
            assert_eq!(host(url), Some(expected));
        }
    }
}
