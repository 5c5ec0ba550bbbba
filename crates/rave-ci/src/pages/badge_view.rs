//! How badges look. Whoever embeds one has no style sheet of ours: the picture carries its colours.

use std::fmt::Write as _;

/// What a badge says on the right, by colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Red,
    Orange,
    Blue,
    Grey,
}

impl Colour {
    /// Dark enough for white letters.
    fn code(self) -> &'static str {
        match self {
            Self::Green => "#1a7f44",
            Self::Red => "#c3242c",
            Self::Orange => "#96620a",
            Self::Blue => "#1f66c7",
            Self::Grey => "#63616e",
        }
    }
}

/// The shape of a badge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    /// Round corners and a little shine.
    #[default]
    Flat,
    FlatSquare,
}

impl Style {
    /// Returns the style with this name.
    pub(super) fn from_label(label: &str) -> Option<Self> {
        match label {
            "flat" => Some(Self::Flat),
            "flat-square" => Some(Self::FlatSquare),
            _ => None,
        }
    }
}

/// A badge.
#[derive(Clone, Debug)]
pub(super) struct Badge {
    /// The text on the left.
    pub(super) key: String,
    /// The text on the right.
    pub(super) value: String,
    pub(super) colour: Colour,
    /// How wide the left side is; `None`: as its text needs.
    pub(super) key_width: Option<i64>,
    pub(super) style: Style,
}

const HEIGHT: i64 = 20;
const PADDING: i64 = 6;

impl Badge {
    /// Draws the badge.
    pub(super) fn svg(&self) -> String {
        let left = self.key_width.unwrap_or_else(|| width(&self.key));
        let right = width(&self.value);
        let total = left + right;
        let (key, value) = (escape(&self.key), escape(&self.value));
        let colour = self.colour.code();
        let (radius, shine) = match self.style {
            Style::Flat => (4, "<rect width=\"100%\" height=\"100%\" fill=\"url(#s)\"/>"),
            Style::FlatSquare => (0, ""),
        };
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{key}: {value}\">\
             <title>{key}: {value}</title>\
             <linearGradient id=\"s\" x2=\"0\" y2=\"100%\"><stop offset=\"0\" stop-color=\"#fff\" stop-opacity=\".12\"/>\
             <stop offset=\"1\" stop-opacity=\".12\"/></linearGradient>\
             <clipPath id=\"r\"><rect width=\"{total}\" height=\"{HEIGHT}\" rx=\"{radius}\"/></clipPath>\
             <g clip-path=\"url(#r)\"><rect width=\"{left}\" height=\"{HEIGHT}\" fill=\"#3b3944\"/>\
             <rect x=\"{left}\" width=\"{right}\" height=\"{HEIGHT}\" fill=\"{colour}\"/>{shine}</g>\
             <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,Geneva,sans-serif\" font-size=\"11\">\
             <text x=\"{}\" y=\"14\">{key}</text><text x=\"{}\" y=\"14\">{value}</text></g></svg>",
            left / 2,
            left + right / 2,
        );
        svg
    }
}

/// Returns about how wide a text is: the picture cannot ask the font.
fn width(text: &str) -> i64 {
    let letter = |it: char| match it {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' => 4,
        'f' | 't' | 'r' | ' ' | '(' | ')' | '-' | '/' => 5,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 11,
        it if it.is_ascii_uppercase() => 8,
        it if it.is_ascii() => 7,
        _ => 12,
    };
    text.chars().map(letter).sum::<i64>() + 2 * PADDING
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // What XML cannot hold.
            it if it.is_control() => escaped.push(' '),
            it => escaped.push(it),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_is_a_picture_of_its_words() {
        let badge = Badge {
            key: "a<b> & \"c\"\u{1}".into(),
            value: "passed".into(),
            colour: Colour::Green,
            key_width: Some(90),
            style: Style::FlatSquare,
        };
        let svg = badge.svg();
        assert!(
            svg.contains("a&lt;b&gt; &amp; &quot;c&quot; : passed"),
            "{svg}"
        );
        assert!(svg.contains("x=\"90\"") && svg.contains("rx=\"0\"") && !svg.contains("url(#s)"));
        let flat = Badge {
            style: Style::Flat,
            key_width: None,
            ..badge
        };
        assert!(flat.svg().contains("url(#s)") && flat.svg().contains("rx=\"4\""));
    }

    #[test]
    fn longer_texts_are_wider() {
        assert!(width("passed") < width("pipeline passed"));
        assert_eq!(width(""), 2 * PADDING);
    }
}
