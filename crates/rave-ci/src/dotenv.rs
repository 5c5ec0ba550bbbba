//! Reports of variables: lines of `KEY=VALUE` that a job leaves to later ones.

use std::io::Read;

/// Largest report.
const BYTES: u64 = 5120;
/// Most variables.
const VARIABLES: usize = 20;

/// Why a report is refused, in GitLab's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DotenvError {
    #[error("Dotenv Artifact Too Big. Maximum Allowable Size: {BYTES}")]
    TooLarge,
    #[error("Dotenv files cannot have more than {VARIABLES} variables")]
    TooMany,
    /// A line has no `=`, blank ones and comments included, or the key is none.
    #[error("Invalid Format")]
    Format,
}

/// Reads a report as the runner packed it. The last value of a key counts.
pub(crate) fn parse(packed: impl Read) -> Result<Vec<(String, String)>, DotenvError> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(packed)
        .take(BYTES)
        .read_to_end(&mut bytes)
        .map_err(|_| DotenvError::Format)?;
    if bytes.len() as u64 >= BYTES {
        return Err(DotenvError::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| DotenvError::Format)?;
    let mut variables: Vec<(String, String)> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let (key, value) = line.split_once('=').ok_or(DotenvError::Format)?;
        let (key, value) = (key.trim(), value.trim());
        let word = |it: char| it.is_ascii_alphanumeric() || it == '_';
        if key.is_empty() || key.len() > 255 || !key.chars().all(word) {
            return Err(DotenvError::Format);
        }
        variables.retain(|(known, _)| known != key);
        variables.push((key.to_owned(), value.to_owned()));
    }
    if variables.len() > VARIABLES {
        return Err(DotenvError::TooMany);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn check(text: &str, expected: Result<&str, DotenvError>) {
        let parsed = parse(&packed(text.as_bytes())[..]).map(|them| {
            let lines: Vec<String> = them
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            lines.join(" ")
        });
        assert_eq!(parsed, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn lines_are_keys_and_values() {
        check("A=1\nB=x y\n", Ok("A=1 B=x y"));
        check(" A = 1 \r\nB=\n", Ok("A=1 B="));
        check("\u{feff}URL=http://x/?a=b", Ok("URL=http://x/?a=b"));
        check("A=1\nA=2\n", Ok("A=2"));
        check("Q=\"kept\"", Ok("Q=\"kept\""));
        check("", Ok(""));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        check("A=1\n\nB=2\n", Err(DotenvError::Format));
        check("# comment\nA=1\n", Err(DotenvError::Format));
        check("A-B=1\n", Err(DotenvError::Format));
        check("=1\n", Err(DotenvError::Format));
        let many: String = (0..21).map(|it| format!("V{it}=1\n")).collect();
        check(&many, Err(DotenvError::TooMany));
        check(
            &format!("A={}", "x".repeat(5118)),
            Err(DotenvError::TooLarge),
        );
        check(
            &format!("A={}", "x".repeat(5_000_000)),
            Err(DotenvError::TooLarge),
        );
        assert_eq!(
            parse(&b"A=1"[..]),
            Err(DotenvError::Format),
            "it is not packed"
        );
        assert_eq!(parse(&packed(b"A=\xff")[..]), Err(DotenvError::Format));
    }
}
