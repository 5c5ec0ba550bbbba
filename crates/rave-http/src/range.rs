//! Which part of an answer is asked for (RFC 9110, section 14): a client whose connection broke goes on where it was.
//!
//! Several parts in one answer are left out; whoever asks for them gets the whole, as the standard allows.

use std::ops::Range;

use http::{HeaderMap, header};

/// What a request wants of something whose size is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: 200.
    Whole,
    /// These bytes, at least one: 206 with `Content-Range`.
    Part(Range<u64>),
    /// Bytes that it does not have: 416.
    Nothing,
}

impl Wanted {
    /// Reads `Range` and `If-Range`. `etag` is the thing's strong tag, with its quotation marks: a part of something that
    /// has changed since would not fit to what the client has.
    #[must_use]
    pub fn of(headers: &HeaderMap, size_bytes: u64, etag: &str) -> Self {
        let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
        let range = text(header::RANGE).and_then(|it| it.trim().strip_prefix("bytes="));
        let same = !headers.contains_key(header::IF_RANGE)
            || text(header::IF_RANGE).is_some_and(|it| it.trim() == etag);
        range
            .filter(|_| same)
            .and_then(|it| part(it.trim(), size_bytes))
            .unwrap_or(Self::Whole)
    }
}

/// Reads `first-last`, `first-` or `-length`. `None` when it is none of them, which counts as not said.
fn part(text: &str, size_bytes: u64) -> Option<Wanted> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        // More than a number holds is more than there is.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match text.split_once('-')? {
        ("", length) => size_bytes.saturating_sub(number(length)?)..size_bytes,
        (first, "") => number(first)?..size_bytes,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size_bytes)
        }
    };
    Some(if range.is_empty() {
        Wanted::Nothing
    } else {
        Wanted::Part(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(range: &str, if_range: Option<&str>) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().expect("a value"));
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().expect("a value"));
        }
        Wanted::of(&headers, 10, "\"tag\"")
    }

    fn check(range: &str, expected: Range<u64>) {
        assert_eq!(wanted(range, None), Wanted::Part(expected), "{range}");
    }

    #[test]
    fn parts_lie_inside() {
        check("bytes=0-0", 0..1);
        check("bytes=2-4", 2..5);
        check("bytes=2-", 2..10);
        check("bytes=9-99", 9..10);
        check("bytes=-3", 7..10);
        check("bytes=-30", 0..10);
        check("bytes=0-99999999999999999999999", 0..10);
    }

    #[test]
    fn what_is_not_there_cannot_be_had() {
        for range in [
            "bytes=10-",
            "bytes=10-12",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(wanted(range, None), Wanted::Nothing, "{range}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=0-".parse().expect("a value"));
        assert_eq!(Wanted::of(&headers, 0, "\"\""), Wanted::Nothing);
    }

    #[test]
    fn other_questions_are_answered_by_the_whole() {
        for range in [
            "",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=+1-2",
        ] {
            assert_eq!(wanted(range, None), Wanted::Whole, "{range}");
        }
        assert_eq!(Wanted::of(&HeaderMap::new(), 10, "\"tag\""), Wanted::Whole);
    }

    #[test]
    fn a_part_is_of_the_same_thing() {
        assert_eq!(wanted("bytes=1-", Some("\"tag\"")), Wanted::Part(1..10));
        assert_eq!(wanted("bytes=1-", Some("\"other\"")), Wanted::Whole);
        assert_eq!(wanted("bytes=1-", Some("W/\"tag\"")), Wanted::Whole);
    }
}
