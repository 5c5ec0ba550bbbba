//! Sizes as people write them: Kubernetes quantities, and some forms beside them.

/// Reads a quantity as Kubernetes does: `1Gi`, `1.5G`, `128974848`, `129e6`. Parts of a byte are rounded up.
#[must_use]
pub fn parse_quantity(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|it: char| !it.is_ascii_digit() && it != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return None;
    }
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    // Eighteen digits and the largest factor fit into the arithmetic.
    if digits.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let mantissa: u128 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    let (factor, divisor) = factor(suffix)?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let bytes = mantissa
        .checked_mul(factor)?
        .div_ceil(scale.checked_mul(divisor)?);
    u64::try_from(bytes).ok()
}

/// Returns what a suffix multiplies by and divides by.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    const STEPS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    let step = |name: &str| STEPS.iter().position(|it| *it == name);
    let exponent = |at: usize| u32::try_from(at + 1).ok();
    if suffix.is_empty() {
        return Some((1, 1));
    }
    if let Some(name) = suffix.strip_suffix('i') {
        return Some((1024_u128.pow(exponent(step(name)?)?), 1));
    }
    match suffix {
        "n" => return Some((1, 1_000_000_000)),
        "u" => return Some((1, 1_000_000)),
        "m" => return Some((1, 1000)),
        "k" => return Some((1000, 1)),
        // Kubernetes knows only the small letter.
        "K" => return None,
        _ => {}
    }
    if let Some(at) = step(suffix) {
        return Some((1000_u128.pow(exponent(at)?), 1));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    if !(-18..=18).contains(&power) {
        return None;
    }
    let ten = 10_u128.pow(power.unsigned_abs());
    Some(if power < 0 { (1, ten) } else { (ten, 1) })
}

/// Reads a size that a person wrote: a Kubernetes quantity, but also `1.5 GiB`, `500 MB` and, as Docker reads them, `2g` and
/// `512m`. Nothing is no size.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|it: char| it.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = (text[..end].trim_end(), &text[end..]);
    let unit = match unit.strip_suffix(['b', 'B']) {
        Some(unit) => unit,
        None => unit,
    };
    let unit = match unit {
        "K" | "ki" => "Ki",
        "m" | "mi" => "Mi",
        "g" | "gi" => "Gi",
        "t" | "ti" => "Ti",
        unit => unit,
    };
    parse_quantity(&format!("{number}{unit}")).filter(|it| *it > 0)
}

/// Writes a size for people: `6 GiB`, `1.5 GiB`, `512 MiB`, at least `1 MiB` unless it is nothing.
#[must_use]
pub fn shown(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes == 0 {
        return "0 MiB".to_owned();
    }
    let mib = bytes.div_ceil(MIB);
    if mib < 1024 {
        return format!("{mib} MiB");
    }
    // In tenths, rounded up, so that what is needed is never understated.
    let tenths = mib.saturating_mul(10).div_ceil(1024);
    match tenths % 10 {
        0 => format!("{} GiB", tenths / 10),
        tenth => format!("{}.{tenth} GiB", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_quantity(text), expected, "{text:?}");
        };
        check("128974848", Some(128_974_848));
        check("129e6", Some(129_000_000));
        check("129E6", Some(129_000_000));
        check("129M", Some(129_000_000));
        check("128974848000m", Some(128_974_848));
        check("123Mi", Some(123 << 20));
        check("1.5Gi", Some(3 << 29));
        check(".5Ki", Some(512));
        check("2.", Some(2));
        check("1500m", Some(2));
        check("1E", Some(1_000_000_000_000_000_000));
        check("64k", Some(64_000));
        for text in [
            "", "Mi", ".", "1.2.3", "-1", "1Q", "64K", "1e99", "1 Gi", "99E", "1GiB", "1e",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn sizes_may_also_be_written_as_people_do() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_size(text), expected, "{text:?}");
        };
        check("512Mi", Some(512 << 20));
        check("1.5 GiB", Some(3 << 29));
        check("2g", Some(2 << 30));
        check("512m", Some(512 << 20));
        check("64 kB", Some(64_000));
        check("64K", Some(64 << 10));
        check("500MB", Some(500_000_000));
        check("1073741824", Some(1 << 30));
        check("10b", Some(10));
        for text in ["", "lots", "-1", "0", "0Mi", "B", "1 2", "é"] {
            check(text, None);
        }
    }

    #[test]
    fn sizes_are_written_short() {
        let all = [0, 1, 64 << 20, 1 << 30, 3 << 29, (1 << 30) + 1, 6 << 30].map(shown);
        let expected = [
            "0 MiB", "1 MiB", "64 MiB", "1 GiB", "1.5 GiB", "1.1 GiB", "6 GiB",
        ];
        assert_eq!(all, expected);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,40}", number in "[0-9.]{0,30}[KMGTPEkmeunib0-9+-]{0,6}") {
            for text in [text, number] {
                let _ = (parse_quantity(&text), parse_size(&text));
            }
        }

        #[test]
        fn what_is_written_is_read_again(mib in 1_u64..1_000_000) {
            let bytes = mib << 20;
            let again = parse_size(&shown(bytes)).expect("a size");
            prop_assert!(again >= bytes && again <= bytes + bytes / 10);
        }
    }
}
