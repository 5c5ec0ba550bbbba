//! Logs as runners send them, as hostile jobs write them, and split at every place.

use proptest::prelude::*;

use super::log::{LogRenderer, Piece};
use super::log_html::{LINES, LogDocument, Patch, patches};

fn document(bytes: &[u8]) -> String {
    let mut renderer = LogRenderer::new();
    let mut document = LogDocument::inside(renderer.open_sections());
    document.add(&renderer.feed(bytes));
    document.add(&renderer.finish());
    document.finish().into_string()
}

/// The lines without numbers.
fn lines(log: &str) -> Vec<String> {
    let mut renderer = LogRenderer::new();
    let mut pieces = renderer.feed(log.as_bytes());
    pieces.extend(renderer.finish());
    let text = |html: &str| {
        let from = html.find("<span class=\"tx\">").expect("a text") + 17;
        let line = html[from..].strip_suffix("</div>").unwrap_or(&html[from..]);
        line.strip_suffix("</span>").expect("its end").to_owned()
    };
    pieces
        .iter()
        .map(|it| match it {
            Piece::Line(html) => text(html),
            Piece::Open(opened) => format!(">{}", text(&opened.title)),
            Piece::Close { secs, .. } => format!("<{secs:?}"),
        })
        .collect()
}

fn check(log: &str, expected: &[&str]) {
    assert_eq!(lines(log), expected, "{log:?}");
}

#[test]
fn colours_become_classes() {
    check(
        "\x1b[32;1mgreen\x1b[0;m plain",
        &["<span class=\"c2 b\">green</span> plain"],
    );
    check(
        "\x1b[91;44mx\x1b[39my\x1b[49mz",
        &["<span class=\"c9 k4\">x</span><span class=\"k4\">y</span>z"],
    );
    check("\x1b[38;5;196mx", &["<span class=\"c1\">x</span>"]);
    check("\x1b[38;5;12mx", &["<span class=\"c12\">x</span>"]);
    check("\x1b[48;2;250;250;250mx", &["<span class=\"k15\">x</span>"]);
    check(
        "\x1b[3;4;9mx\x1b[23;24;29my",
        &["<span class=\"i u s\">x</span>y"],
    );
    check(
        "\x1b[7mx\x1b[31my",
        &["<span class=\"cx kx\">x</span><span class=\"cx k1\">y</span>"],
    );
    check("\x1b[38;5mx\x1b[38my\x1b[;mz", &["xyz"]);
    check(
        "\x1b[1mbold\nstill\x1b[22m not",
        &[
            "<span class=\"b\">bold</span>",
            "<span class=\"b\">still</span> not",
        ],
    );
}

#[test]
fn progress_overwrites_itself() {
    check(" 10%\r 50%\r100%\ndone\r\nnext", &["100%", "done", "next"]);
    check("loading...\r\x1b[0Kok", &["ok"]);
    check("abc\x1b[2D\x1b[1Kx", &[" xc"]);
    check("abc\x08\x08X", &["aXc"]);
    check("a\x1b[5Gb", &["a   b"]);
    check("a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c", &["abc"]);
    check("a\x1b[999zb\x1b(Bc\x1b7d\x1b[12\u{1}e", &["abcde"]);
}

#[test]
fn sections_fold() {
    let log = "\x1b[0Ksection_start:100:prepare\r\x1b[0K\x1b[36;1mPreparing\x1b[0;m\nusing shell\n\
        section_end:103:prepare\r\x1b[0Ksection_start:103:build_all[collapsed=true]\r\x1b[0K\nbody\n\
        section_end:163:build_all\r\x1b[0K\nafter\n";
    check(
        log,
        &[
            "><span class=\"c6 b\">Preparing</span>",
            "using shell",
            "<Some(3)",
            ">build all",
            "body",
            "<Some(60)",
            "after",
        ],
    );
    check(
        "section_start:1:a\rA\nsection_start:2:b[hide_duration=true]\rB\nsection_end:9:a\r\nx\nsection_end:9:zzz\r\ny",
        &[">A", ">B", "<None", "<Some(8)", "x", "y"],
    );
    check(
        "text section_start:5:a\rtitle",
        &["text ", ">title", "<None"],
    );
    assert_eq!(
        document(b"section_start:1:a\rA\nx\nsection_end:9:a\r\n"),
        "<details class=\"section\" open><summary class=\"line\"><a class=\"ln\" id=\"L1\" href=\"#L1\">1</a>\
         <span class=\"tx\">A</span><span class=\"took\" id=\"took-1\">8.0s</span></summary><div id=\"section-1\">\
         <div class=\"line\"><a class=\"ln\" id=\"L2\" href=\"#L2\">2</a><span class=\"tx\">x</span></div></div></details>"
    );
}

#[test]
fn headers_of_lines_are_stripped_and_continued_lines_joined() {
    let at = "2026-01-02T03:04:05.678901Z ";
    let log = format!(
        "{at}00O section_start:7:a\r\n{at}00O+\x1b[0KTitle\n{at}01O one, \n{at}01O+two\n{at}01E err\n{at}01O+three\nbare\n{at}01O 2026-01-02T03:04\n"
    );
    check(
        &log,
        &[
            ">Title",
            "one, two",
            "err",
            "three",
            "bare",
            "2026-01-02T03:04",
            "<None",
        ],
    );
    check(
        "2026-01-02T03:04:05Z no header",
        &["2026-01-02T03:04:05Z no header"],
    );
    let mut renderer = LogRenderer::new();
    assert!(
        renderer
            .feed(format!("{at}01O waits\n").as_bytes())
            .is_empty()
    );
    assert!(
        renderer.unfinished().contains("waits"),
        "shown though it may go on"
    );
}

#[test]
fn text_is_escaped_and_addresses_are_links() {
    check(
        "<script>alert('x')</script> & \"q\"",
        &["&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot;"],
    );
    let link = |it: &str| format!("<a rel=\"noopener noreferrer nofollow\" href=\"{it}\">{it}</a>");
    check(
        "see (https://x.org/a?b=1&c=2), or http://y.",
        &[&format!(
            "see ({}), or {}.",
            link("https://x.org/a?b=1&amp;c=2"),
            link("http://y")
        )],
    );
    check("https://x.org/a_(b)", &[&link("https://x.org/a_(b)")]);
    check(
        "http:// https:// javascript:alert(1)",
        &["http:// https:// javascript:alert(1)"],
    );
    check("a\u{202e}b\u{7f}c", &["a\u{fffd}bc"]);
}

#[test]
fn broken_characters_are_replaced() {
    let mut renderer = LogRenderer::new();
    let pieces = renderer.feed(b"a\xffb\xc3(\xe2\x82\n\xe2\x82\xac\n");
    let html = format!("{pieces:?}");
    assert!(html.contains("a\u{fffd}b\u{fffd}(\u{fffd}"), "{html}");
    assert!(html.contains('€'), "{html}");
}

#[test]
fn long_lines_and_deep_sections_stay_bounded() {
    let long = lines(&"x".repeat(100_000));
    assert_eq!(long.len(), 1);
    assert!(
        long[0].len() < 9_000 && long[0].contains("91808 more characters"),
        "{}",
        long[0].len()
    );
    let wide = lines("\x1b[999999999999Gx\x1b[18446744073709551615Cy");
    assert!(wide[0].len() < 500, "{wide:?}");
    let mut document = LogDocument::inside(std::iter::empty());
    let line = Piece::Line("x".repeat(1 << 20));
    document.add(&vec![line; 20]);
    let html = document.finish().into_string();
    assert!(
        html.len() < 13 << 20 && html.contains("8 more lines"),
        "{}",
        html.len()
    );
    let deep: String = (0..100)
        .map(|it| format!("section_start:1:s{it}\rS\n"))
        .collect();
    let opened = lines(&deep).iter().filter(|it| it.starts_with('>')).count();
    assert_eq!(opened, 16);
}

/// A page as a browser has it: what was appended to and put in place of which element.
#[derive(Default)]
struct Element {
    children: Vec<Child>,
}

enum Child {
    Text(String),
    Section(u32, String, Element),
}

impl Element {
    fn find(&mut self, id: &str) -> Option<&mut Self> {
        if id == LINES {
            return Some(self);
        }
        self.children.iter_mut().find_map(|it| match it {
            Child::Section(number, _, body) => {
                let own = format!("section-{number}") == id;
                if own { Some(body) } else { body.find(id) }
            }
            Child::Text(_) => None,
        })
    }

    fn append(&mut self, html: &str) {
        let mut rest = html;
        while let Some(start) = rest.find("<details") {
            self.children.push(Child::Text(rest[..start].to_owned()));
            let end = rest[start..].find("</details>").expect("its end") + start + 10;
            let details = &rest[start..end];
            let number = details
                .rsplit("section-")
                .next()
                .and_then(|it| it.split('"').next())
                .and_then(|it| it.parse().ok())
                .expect("its number");
            self.children
                .push(Child::Section(number, details.to_owned(), Self::default()));
            rest = &rest[end..];
        }
        self.children.push(Child::Text(rest.to_owned()));
    }

    fn replace(&mut self, id: &str, html: &str) {
        for child in &mut self.children {
            if let Child::Section(_, own, body) = child {
                let empty = format!("<span class=\"took\" id=\"{id}\"></span>");
                *own = own.replace(&empty, html);
                body.replace(id, html);
            }
        }
    }

    fn html(&self) -> String {
        self.children
            .iter()
            .map(|it| match it {
                Child::Text(text) => text.clone(),
                Child::Section(_, own, body) => {
                    let end = own.len() - "</div></details>".len();
                    format!("{}{}{}", &own[..end], body.html(), &own[end..])
                }
            })
            .collect()
    }
}

fn by_patches(log: &[u8], cuts: &[usize]) -> String {
    let mut renderer = LogRenderer::new();
    let mut page = Element::default();
    let mut open = Vec::new();
    let mut show = |pieces: &[Piece]| {
        for patch in patches(&mut open, pieces) {
            match patch {
                Patch::Append { id, html } => page.find(&id).expect("the target").append(&html),
                Patch::Replace { id, html } => page.replace(&id, &html),
            }
        }
    };
    let mut at = 0;
    for cut in cuts.iter().copied().chain([log.len()]) {
        let cut = cut.clamp(at, log.len());
        show(&renderer.feed(&log[at..cut]));
        at = cut;
    }
    show(&renderer.finish());
    page.html()
}

/// Logs out of the fragments that matter, and of anything.
fn any_log() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        prop::sample::select(vec![
            "section_start:1:a\r\x1b[0K",
            "section_start:2:b[collapsed=true]\r\x1b[0K",
            "section_end:5:a\r\x1b[0K",
            "section_end:9:b\r",
            "2026-01-02T03:04:05.678901Z 01O ",
            "2026-01-02T03:04:05.678901Z 01O+",
            "2026-01-02T03:04:05.678901Z 00E ",
            "\x1b[31;1m",
            "\x1b[0;m",
            "\x1b[",
            "\x1b]",
            "\r",
            "\n",
            "\n",
            "https://x.org/<b>",
            "<script>\"'&",
            "ä€😀",
            "text ",
        ])
        .prop_map(|it| it.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(fragment, 0..60).prop_map(|it| it.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_page(log in any_log(), cuts in prop::collection::vec(0_usize..900, 0..12)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(by_patches(&log, &cuts), document(&log));
    }

    #[test]
    fn the_end_of_a_log_continues_its_beginning(log in any_log(), cut in 0_usize..900) {
        let cut = cut.min(log.len());
        let mut whole = LogRenderer::new();
        whole.feed(&log[..cut]);
        let mut skipped = LogRenderer::new();
        skipped.skip(&log[..cut]);
        prop_assert!(skipped.open_sections().eq(whole.open_sections()));
        prop_assert_eq!(skipped.feed(&log[cut..]), whole.feed(&log[cut..]));
        prop_assert_eq!(skipped.finish(), whole.finish());
        prop_assert_eq!(skipped.unfinished(), whole.unfinished());
        prop_assert_eq!(skipped.offset(), log.len() as u64);
    }

    #[test]
    fn nothing_of_the_log_becomes_markup(log in any_log()) {
        let html = document(&log);
        let mut rest = html.as_str();
        while let Some(start) = rest.find('<') {
            let end = rest[start..].find('>').expect("a tag ends") + start;
            let tag = rest[start + 1..end].trim_start_matches('/');
            let name = tag.split(' ').next().unwrap_or_default();
            prop_assert!(["div", "a", "span", "details", "summary"].contains(&name), "{tag}");
            prop_assert_eq!(tag.matches('"').count() % 2, 0, "{}", tag);
            rest = &rest[end + 1..];
        }
        prop_assert!(!html.contains(|it: char| it.is_control() && it != '\t'));
        for pair in html.split('&').skip(1) {
            let entity = pair.split(';').next().unwrap_or_default();
            prop_assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "{entity}");
        }
    }
}
