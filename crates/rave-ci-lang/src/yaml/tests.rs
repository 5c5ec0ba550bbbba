//! What libyaml makes of texts: the same events, and the same words and places for what is no YAML.

use super::describe::describe;

#[test]
fn events() {
    let check = |text: &str, expected: &str| {
        let described = describe(text);
        assert_eq!(described.error, None, "{text:?}");
        let events: Vec<String> = described.events.into_iter().map(|it| it.1).collect();
        assert_eq!(events.join(" "), expected, "{text:?}");
    };
    check("", "");
    check("# c", "");
    check("a: b", "--- { =a =b } ...");
    check(
        "a:\n- b\n- c: d\n  e: f\n",
        "--- { =a [ =b { =c =d =e =f } ] } ...",
    );
    check("- - a\n  - b\n- c", "--- [ [ =a =b ] =c ] ...");
    check(
        "{a: b, c, ? d : e, f: }",
        "--- { =a =b =c = =d =e =f = } ...",
    );
    check(
        "[a, b: c, ? d : e, {}, []]",
        "--- [ =a { =b =c } { =d =e } { } [ ] ] ...",
    );
    check("[!t, x, &a , y]", "--- [ <!t> = =x &a = =y ] ...");
    check("? a\n: b\n? - c\n: - d", "--- { =a =b [ =c ] [ =d ] } ...");
    check("&a a: &b b\n*a : *b", "--- { &a =a &b =b *a *b } ...");
    check(
        "!!str a: !t b\n!<x,y> c: ! d\n",
        "--- { <tag:yaml.org,2002:str> =a <!t> =b <x,y> =c <!> =d } ...",
    );
    check("%TAG !x! y:\n--- !x!z a", "--- <y:z> =a ...");
    check("--- a\n...\n--- b", "--- =a ... --- =b ...");
    check(
        "a: 'it''s'\nb: \"x\\ty\\\n  z \\u263a\"",
        "--- { =a 'it's' =b 'x\tyz ☺' } ...",
    );
    check("a: b\n  c\n\n  d # e\n  ", "--- { =a =b c\\nd } ...");
    check("a: 'b\n  c\n\n  d'", "--- { =a 'b c\\nd' } ...");
    check(
        "a: |\n  b\n\n   c\n\nd: |-\n  e\n\nf: |+\n  g\n\n",
        "--- { =a 'b\\n\\n c\\n' =d 'e' =f 'g\\n\\n' } ...",
    );
    check(
        "a: >\n  b\n  c\n\n  d\n   e\n  f\n",
        "--- { =a 'b c\\nd\\n e\\nf\\n' } ...",
    );
    check("a: |2\n    b\n   c\n", "--- { =a '  b\\n c\\n' } ...");
    check("a: >1-\n  b\n c\n", "--- { =a ' b\\nc' } ...");
    check("a\u{2028}b", "--- =a\u{2028}b ...");
    check("a: b\r\nc:\r\n- d\r\n", "--- { =a =b =c [ =d ] } ...");
    check("a:b: c::d #e#f", "--- { =a:b =c::d } ...");
    check(
        "[a:b, http://c, -d, e#f]",
        "--- [ =a:b =http://c =-d =e#f ] ...",
    );
    check("{a, 'b': c, \"d\":e}", "--- { =a = 'b' =c 'd' =e } ...");
    check("a: !\nb: &c\nd:", "--- { =a <!> = =b &c = =d = } ...");
    check("- |\n- >\n", "--- [ '' '' ] ...");
    check("é: 😀\n😀: x", "--- { =é =😀 =😀 =x } ...");
    check(
        "a: &b\n  c: d\ne:\n  <<: *b",
        "--- { =a &b { =c =d } =e { =<< *b } } ...",
    );
}

#[test]
fn errors() {
    let check = |text: &str, expected: &str| {
        let message = describe(text).error.unwrap_or_default();
        assert_eq!(message, format!("(<unknown>): {expected}"), "{text:?}");
    };
    check(
        "a: [1",
        "did not find expected ',' or ']' while parsing a flow sequence at line 1 column 4",
    );
    check(
        "a: {b",
        "did not find expected ',' or '}' while parsing a flow mapping at line 1 column 4",
    );
    check(
        "a:\n\tb: c",
        "found character that cannot start any token while scanning for the next token at line 2 column 1",
    );
    check(
        "a: b: c",
        "mapping values are not allowed in this context at line 1 column 5",
    );
    check(
        "a:\n  b: c\n d: e",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "a: - b",
        "block sequence entries are not allowed in this context at line 1 column 4",
    );
    check(
        "- a\nb: c",
        "did not find expected '-' indicator while parsing a block collection at line 1 column 1",
    );
    check(
        "a\nb: c",
        "mapping values are not allowed in this context at line 2 column 2",
    );
    check(
        "a: @b",
        "found character that cannot start any token while scanning for the next token at line 1 column 4",
    );
    check(
        "a: `b",
        "found character that cannot start any token while scanning for the next token at line 1 column 4",
    );
    check(
        "a: %b",
        "found character that cannot start any token while scanning for the next token at line 1 column 4",
    );
    check(
        "a: |b",
        "did not find expected comment or line break while scanning a block scalar at line 1 column 4",
    );
    check(
        "a: | # c\n\tx",
        "found a tab character where an indentation space is expected while scanning a block scalar at line 1 column 4",
    );
    check(
        "a: |0\n x",
        "found an indentation indicator equal to 0 while scanning a block scalar at line 1 column 4",
    );
    check(
        "a: 'b",
        "found unexpected end of stream while scanning a quoted scalar at line 1 column 4",
    );
    check(
        "a: \"b",
        "found unexpected end of stream while scanning a quoted scalar at line 1 column 4",
    );
    check(
        "a: \"\\q\"",
        "found unknown escape character while parsing a quoted scalar at line 1 column 4",
    );
    check(
        "a: \"\\xZZ\"",
        "did not find expected hexdecimal number while parsing a quoted scalar at line 1 column 4",
    );
    check(
        "a: \"\\ud800\"",
        "found invalid Unicode character escape code while parsing a quoted scalar at line 1 column 4",
    );
    check(
        "a: 'b\n--- c'",
        "found unexpected document indicator while scanning a quoted scalar at line 1 column 4",
    );
    check(
        "a: *",
        "did not find expected alphabetic or numeric character while scanning an alias at line 1 column 4",
    );
    check(
        "a: &",
        "did not find expected alphabetic or numeric character while scanning an anchor at line 1 column 4",
    );
    check(
        "a: *b]",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "a: &b!",
        "did not find expected alphabetic or numeric character while scanning an anchor at line 1 column 4",
    );
    check(
        "a: !x!y z",
        "found undefined tag handle while parsing a node at line 1 column 4",
    );
    check(
        "a: !<x z",
        "did not find the expected '>' while scanning a tag at line 1 column 4",
    );
    check(
        "a: !x,y",
        "did not find expected whitespace or line break while scanning a tag at line 1 column 4",
    );
    check(
        "a: !%zz b",
        "did not find URI escaped octet while parsing a tag at line 1 column 4",
    );
    check(
        "a: !%ff b",
        "found an incorrect leading UTF-8 octet while parsing a tag at line 1 column 4",
    );
    check(
        "a: !%c3%28 b",
        "found an incorrect trailing UTF-8 octet while parsing a tag at line 1 column 4",
    );
    check(
        "%",
        "could not find expected directive name while scanning a directive at line 1 column 1",
    );
    check(
        "%a!",
        "found unexpected non-alphabetical character while scanning a directive at line 1 column 1",
    );
    check(
        "%X y\n---\n",
        "found unknown directive name while scanning a directive at line 1 column 1",
    );
    check(
        "%YAML\n---\n",
        "did not find expected version number while scanning a %YAML directive at line 1 column 1",
    );
    check(
        "%YAML 1\n---\n",
        "did not find expected digit or '.' character while scanning a %YAML directive at line 1 column 1",
    );
    check(
        "%YAML 1.1111111111\n---\n",
        "found extremely long version number while scanning a %YAML directive at line 1 column 1",
    );
    check(
        "%YAML 1.1 x\n---\n",
        "did not find expected comment or line break while scanning a directive at line 1 column 1",
    );
    check(
        "%YAML 1.1\n%YAML 1.1\n---\n",
        "found duplicate %YAML directive at line 1 column 1",
    );
    check(
        "%YAML 2.0\n---\n",
        "found incompatible YAML document at line 1 column 1",
    );
    check(
        "%TAG x\n---\n",
        "did not find expected '!' while scanning a tag directive at line 1 column 1",
    );
    check(
        "%TAG !x y\n---\n",
        "did not find expected '!' while parsing a tag directive at line 1 column 1",
    );
    check(
        "%TAG !x!\n---\n",
        "did not find expected whitespace while scanning a %TAG directive at line 1 column 1",
    );
    check(
        "%TAG !x! y]z{\n---\n",
        "did not find expected whitespace or line break while scanning a %TAG directive at line 1 column 1",
    );
    check(
        "%TAG !x! y\n%TAG !x! z\n---\n",
        "found duplicate %TAG directive at line 1 column 1",
    );
    check(
        "%YAML 1.1\na: b",
        "did not find expected <document start> at line 1 column 1",
    );
    check(
        "[a]\nb",
        "did not find expected <document start> at line 1 column 1",
    );
    check(
        "{a:[b]}",
        "found unexpected ':' while scanning a plain scalar at line 1 column 2",
    );
    check(
        "[a b: c\n d]: e",
        "mapping values are not allowed in this context at line 2 column 4",
    );
    check(
        "a: ]",
        "did not find expected node content while parsing a block node at line 1 column 4",
    );
    check(
        "[a, b}",
        "did not find expected ',' or ']' while parsing a flow sequence at line 1 column 1",
    );
    check(
        "{a: b]",
        "did not find expected ',' or '}' while parsing a flow mapping at line 1 column 1",
    );
    check(
        "a: [b\nc: d",
        "did not find expected ',' or ']' while parsing a flow sequence at line 1 column 4",
    );
    check(
        "- [\n",
        "did not find expected node content while parsing a flow node at line 2 column 1",
    );
    check(
        "a: {b: c d: e}",
        "did not find expected ',' or '}' while parsing a flow mapping at line 1 column 4",
    );
    check(
        "? a\n b: c\n- d",
        "mapping values are not allowed in this context at line 2 column 3",
    );
    check(
        "? a\n- b\nc",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "a: b\n\u{0001}",
        "control characters are not allowed at line 1 column 1",
    );
    check(
        "\u{007F}",
        "control characters are not allowed at line 1 column 1",
    );
    check(
        "a\n b\nc: d",
        "mapping values are not allowed in this context at line 3 column 2",
    );
    check(
        "a:\n - b\n c",
        "could not find expected ':' while scanning a simple key at line 3 column 2",
    );
    check(
        "x: y\n  - z: w",
        "mapping values are not allowed in this context at line 2 column 6",
    );
    check(
        "&a &b c",
        "did not find expected <document start> at line 1 column 1",
    );
    check(
        "!a !b c",
        "did not find expected <document start> at line 1 column 1",
    );
    check(
        "&a *b",
        "did not find expected <document start> at line 1 column 1",
    );
    check(
        "- - a\n - b\n  - c",
        "did not find expected '-' indicator while parsing a block collection at line 1 column 1",
    );
    check(
        "a: b\n  c: d",
        "mapping values are not allowed in this context at line 2 column 4",
    );
    check(
        "\"a\nb\": c",
        "mapping values are not allowed in this context at line 2 column 3",
    );
    check(
        "a: \"b\" c",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "a: 'b'c",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "[\"a\" b]",
        "did not find expected ',' or ']' while parsing a flow sequence at line 1 column 1",
    );
    check(
        "{\"a\" b}",
        "did not find expected ',' or '}' while parsing a flow mapping at line 1 column 1",
    );
    check(
        "a: >\n\tb",
        "found a tab character where an indentation space is expected while scanning a block scalar at line 1 column 4",
    );
    check(
        "a: b\n\tc: d",
        "found a tab character that violates indentation while scanning a plain scalar at line 1 column 4",
    );
    check(
        "? - a\n  : b\n   c: d\n  e",
        "did not find expected '-' indicator while parsing a block collection at line 1 column 3",
    );
    check(
        "- |\n a\nb",
        "could not find expected ':' while scanning a simple key at line 3 column 1",
    );
    check(
        "k: [a]b",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "k: {a}b",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "*a b: c",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "a: &b\n  c: d\n e: f",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "a: !!",
        "did not find expected tag URI while parsing a tag at line 1 column 4",
    );
    check(
        "- \"a\\\n",
        "found unexpected end of stream while scanning a quoted scalar at line 1 column 3",
    );
    check(
        "a: 'it's'",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "script: - echo \"a: b\"",
        "block sequence entries are not allowed in this context at line 1 column 9",
    );
    check(
        "if: $A == \"b\": c",
        "mapping values are not allowed in this context at line 1 column 14",
    );
    check(
        "- *.log",
        "did not find expected alphabetic or numeric character while scanning an alias at line 1 column 3",
    );
    check(
        "- &&",
        "did not find expected alphabetic or numeric character while scanning an anchor at line 1 column 3",
    );
    check(
        "a: b: |\n c",
        "mapping values are not allowed in this context at line 1 column 5",
    );
    check(
        "<<: *x: y",
        "mapping values are not allowed in this context at line 1 column 7",
    );
    check(
        "[a, [b, c]",
        "did not find expected ',' or ']' while parsing a flow sequence at line 1 column 1",
    );
    check(
        "{a: {b: c}",
        "did not find expected ',' or '}' while parsing a flow mapping at line 1 column 1",
    );
    check(
        "a: [b, c]]",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "- a: b\n   c: d",
        "mapping values are not allowed in this context at line 2 column 5",
    );
    check(
        "a: |\n  b\n c",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "a: >-\n  b\n c: d\n  e",
        "did not find expected key while parsing a block mapping at line 1 column 1",
    );
    check(
        "'a': b\n'c",
        "found unexpected end of stream while scanning a quoted scalar at line 2 column 1",
    );
    check(
        "\u{2028}- a\n b: c\n",
        "mapping values are not allowed in this context at line 3 column 3",
    );
    check(
        "ab: c",
        "mapping values are not allowed in this context at line 2 column 2",
    );
}

#[test]
fn places() {
    let check = |text: &str, expected: &[(u32, u32)]| {
        let places: Vec<(u32, u32)> = describe(text).events.iter().map(|it| it.0).collect();
        assert_eq!(places, expected, "{text:?}");
    };
    check("a: b", &[(0, 0), (0, 0), (0, 0), (0, 3), (1, 0), (1, 0)]);
    check(
        "- é: &x\n    !t b\n",
        &[
            (0, 0),
            (0, 0),
            (0, 2),
            (0, 2),
            (0, 5),
            (2, 0),
            (2, 0),
            (2, 0),
        ],
    );
    check(
        "a\r\n\u{2028}---\r[b,\tc]",
        &[
            (0, 0),
            (0, 0),
            (2, 0),
            (2, 0),
            (3, 0),
            (3, 1),
            (3, 4),
            (3, 5),
            (4, 0),
        ],
    );
}

/// A key is found up to 1,024 characters before its `:`.
#[test]
fn long_keys() {
    let key = |length: usize| describe(&format!("{}: x", "é".repeat(length))).error;
    assert_eq!(key(1024), None);
    let error = "(<unknown>): mapping values are not allowed in this context at line 1 column 1026";
    assert_eq!(key(1025).as_deref(), Some(error));
    let required = describe(&format!("a: b\n{}: c", "x".repeat(1025))).error;
    let error =
        "(<unknown>): could not find expected ':' while scanning a simple key at line 2 column 1";
    assert_eq!(required.as_deref(), Some(error));
}

/// Nesting costs neither call stack nor time that grows faster than the text.
#[test]
fn deep_nesting() {
    let deep = 20_000;
    for (open, close) in [
        ("[", "]"),
        ("{a: ", "}"),
        ("- ", ""),
        ("? ", ""),
        ("[{", "}]"),
    ] {
        let text = open.repeat(deep) + &close.repeat(deep);
        let described = describe(&text);
        assert!(
            described.events.len() >= 2 * deep,
            "{open}: {:?}",
            described.error
        );
    }
}
