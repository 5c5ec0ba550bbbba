//! Secrets that everyone who can read the repository can read.

use std::sync::LazyLock;

use regex::Regex;

use crate::report::Report;
use crate::yaml::{Key, Node};

/// What begins tokens of well-known services, and what the rest looks like.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[0-9A-Za-z_-]{20,}",
        r"gh[pousr]_[0-9A-Za-z]{36,}",
        r"github_pat_[0-9A-Za-z_]{50,}",
        r"A(?:KIA|SIA)[0-9A-Z]{16}",
        r"xox[abposr]-[0-9A-Za-z-]{20,}",
        r"(?:sk|rk)_live_[0-9A-Za-z]{20,}",
        r"AIza[0-9A-Za-z_-]{35}",
        r"npm_[0-9A-Za-z]{36}",
        r"pypi-AgEI[0-9A-Za-z_-]{50,}",
        r"dop_v1_[0-9a-f]{64}",
        r"hv[sb]\.[0-9A-Za-z_-]{24,}",
        r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",
    ];
    Regex::new(&format!(
        r"(?:^|[^0-9A-Za-z_])(?:{})(?:$|[^0-9A-Za-z_])|-----BEGIN [A-Z ]*PRIVATE KEY-----",
        forms.join("|")
    ))
    .expect("the pattern is valid")
});

/// Looks at the value of a variable. The value is not repeated.
pub(super) fn check(key: &Key, value: &Node, report: &mut Report) {
    if value.as_text().is_some_and(|it| SECRET.is_match(it)) {
        let message = format!("the value of `{}` looks like a secret", key.text);
        let hint = "revoke it, and give the new one as a masked variable of the project";
        report.warn_of_secret(value.span, message, Some(hint.to_owned()));
    }
}
