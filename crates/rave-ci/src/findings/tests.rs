//! Reports as the tools write them, and as nobody should.

use proptest::prelude::*;

use super::*;

fn parse(file_type: &str, text: &str) -> Parsed {
    read(file_type, ArtifactFormat::Raw, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(file_type: &str, text: &str) -> String {
    match read(file_type, ArtifactFormat::Raw, text.as_bytes()) {
        Ok(parsed) => panic!("{parsed:?}"),
        Err(error) => error.to_string(),
    }
}

fn lines(tests: &[TestCase]) -> Vec<String> {
    let line = |it: &TestCase| {
        format!(
            "{} {}.{} {} {}",
            it.outcome.label(),
            it.class,
            it.name,
            it.duration_ms,
            it.message
        )
    };
    tests.iter().map(line).collect()
}

#[test]
fn junit_nests_suites_and_tells_what_failed() {
    let parsed = parse(
        "junit",
        r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="all">
  <testsuite name="outer"><properties><property name="os" value="linux"/></properties>
    <testsuite name="inner">
      <testcase classname="shop.Cart" name="adds" time="0.25" file="shop/cart.py" line="12"/>
      <testcase classname="shop.Cart" name="pays" time="1,200.5">
        <failure message="expected 3 &amp; got 4" type="AssertionError">expected 3 &amp; got 4
  at cart.py:9</failure>
        <system-out><![CDATA[paying <now> [[ATTACHMENT|shots/pay.png]]]]></system-out>
      </testcase>
      <testcase classname="shop.Cart" name="ships"><error>boom &#33; &unknown;</error></testcase>
      <testcase classname="shop.Cart" name="later"><skipped message="not today"/></testcase>
    </testsuite>
  </testsuite>
</testsuites>"#,
    );
    assert_eq!(
        lines(&parsed.tests),
        [
            "success shop.Cart.adds 250 ",
            "failed shop.Cart.pays 1200500 expected 3 & got 4\n  at cart.py:9",
            "error shop.Cart.ships 0 boom ! &unknown;",
            "skipped shop.Cart.later 0 not today",
        ]
    );
    let failed = &parsed.tests[1];
    assert_eq!(failed.attachment.as_deref(), Some("shots/pay.png"));
    assert!(
        failed.output.starts_with("paying <now>"),
        "{}",
        failed.output
    );
    assert_eq!(parsed.tests[0].suite, "inner");
    assert_eq!(parsed.tests[0].file.as_deref(), Some("shop/cart.py"));
    assert_eq!(parsed.tests[0].line, Some(12));
    let totals = parsed.summary.tests.unwrap();
    assert_eq!((totals.count(), totals.failing()), (4, 2));
}

#[test]
fn junit_of_other_tools_is_understood() {
    // GoogleTest: no class of its own in a suite, tests that did not run.
    let parsed = parse(
        "junit",
        r#"<testsuites><testsuite name="Math" tests="2">
<testcase name="Adds" status="run" result="completed" time="0.001" classname="Math" />
<testcase name="Divides" status="notrun" result="suppressed" time="0" classname="Math" />
</testsuite></testsuites>"#,
    );
    assert_eq!(
        lines(&parsed.tests),
        ["success Math.Adds 1 ", "skipped Math.Divides 0 "]
    );
    // Maven with tests that were run again: the last try counts.
    let parsed = parse(
        "junit",
        r#"<testsuite name="x"><testcase name="a" classname="C"><flakyFailure message="once"><stackTrace>at A</stackTrace></flakyFailure></testcase>
<testcase name="b" classname="C"><failure type="E"/><rerunFailure message="again"/><system-err>err</system-err></testcase></testsuite>"#,
    );
    assert_eq!(lines(&parsed.tests), ["success C.a 0 ", "failed C.b 0 E"]);
    // A suite alone, a prefix, a test without a name, and a run without tests.
    let parsed = parse(
        "junit",
        r#"<j:testsuite xmlns:j="urn:x"><j:testcase class="C"/></j:testsuite>"#,
    );
    assert_eq!(lines(&parsed.tests), ["success C.(without a name) 0 "]);
    assert_eq!(
        parse("junit", "<testsuites/>").summary.tests,
        Some(TestTotals::default())
    );
}

#[test]
fn a_report_that_is_none_says_why() {
    assert_eq!(
        refusal("junit", "<html></html>"),
        "it has neither testsuite nor testcase elements"
    );
    assert_eq!(refusal("junit", ""), "it has no XML element");
    assert_eq!(
        refusal("junit", "<testsuites><testsuite>"),
        "it ends in the middle"
    );
    assert!(
        refusal("junit", "<testsuite><testcase></testsuite>").starts_with("it is not valid XML")
    );
    assert!(refusal("junit", &"<testsuite>".repeat(200)).contains("nest deeper than 100"));
    assert!(refusal("sast", "[1]").starts_with("it is not valid JSON of this kind"));
    assert!(refusal("codequality", "[{}] trailing").starts_with("it is not valid JSON"));
    assert_eq!(
        refusal("cyclonedx", r#"{"bomFormat": "SPDX"}"#),
        "it is SPDX rather than CycloneDX"
    );
    assert_eq!(
        refusal("dotenv", "A=1"),
        "reports of type dotenv are not read"
    );
}

#[test]
fn entities_do_not_multiply() {
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"><failure>&b;</failure></testcase></testsuite>"#;
    let parsed = parse("junit", bomb);
    assert_eq!(parsed.tests[0].message, "&b;");
}

#[test]
fn too_much_is_counted_but_not_kept() {
    let mut text = String::from("<testsuite>");
    for number in 0..TESTS + 50 {
        text.push_str(&format!("<testcase name=\"t{number}\"/>"));
    }
    text.push_str("<testcase name=\"last\"><failure>no</failure></testcase></testsuite>");
    let parsed = parse("junit", &text);
    assert_eq!(parsed.tests.len(), TESTS + 1, "a failing test is kept");
    assert_eq!(parsed.summary.tests.unwrap().count(), TESTS as u64 + 51);
    assert_eq!(
        parsed.summary.notes,
        ["50 more entries are counted but not kept."]
    );

    let long = "ä".repeat(TEXT);
    let case = format!("<testcase name=\"n\"><failure>{long}</failure></testcase>");
    let parsed = parse(
        "junit",
        &format!("<testsuite>{}</testsuite>", case.repeat(700)),
    );
    let texts: usize = parsed.tests.iter().map(|it| it.message.len()).sum();
    assert!(texts <= TEXTS + TEXT, "{texts}");
    assert!(parsed.tests[0].message.len() <= TEXT + 4);
    assert_eq!(parsed.summary.notes.len(), 1, "{:?}", parsed.summary.notes);
}

#[test]
fn cobertura_counts_each_line_of_a_file_once() {
    let parsed = parse(
        "cobertura",
        r#"<?xml version="1.0"?><!DOCTYPE coverage SYSTEM "http://example.org/coverage-04.dtd">
<coverage line-rate="0.5"><sources><source>/builds/team/app/src</source></sources><packages><package name="p"><classes>
<class name="A" filename="p/a.py"><methods><method name="m"><lines><line number="1" hits="1"/></lines></method></methods>
<lines><line number="1" hits="1"/><line number="2" hits="0"/><line number="3" hits="0"/><line number="9" hits="0"/></lines></class>
<class name="A.Inner" filename="p/a.py"><lines><line number="3" hits="2"/></lines></class>
<class name="B" filename="p/b.py"><lines><line number="1" hits="0" branch="true" condition-coverage="50% (1/2)"/></lines></class>
</classes></package></packages></coverage>"#,
    );
    let file = |path: &str, lines, covered, missed: &str| FileCoverage {
        path: path.into(),
        lines,
        covered,
        missed: missed.into(),
    };
    assert_eq!(
        parsed.files,
        [file("p/a.py", 4, 2, "2,9"), file("p/b.py", 1, 0, "1")]
    );
    assert_eq!(parsed.sources, ["/builds/team/app/src"]);
    assert_eq!(parsed.summary.lines, Some((5, 2)));
}

#[test]
fn jacoco_counts_lines_of_source_files() {
    let parsed = parse(
        "jacoco",
        r#"<!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd"><report name="app"><group name="g">
<package name="org/app"><class name="org/app/Main"><counter type="LINE" missed="9" covered="9"/></class>
<sourcefile name="Main.java"><line nr="3" mi="0" ci="4" mb="0" cb="0"/><line nr="4" mi="2" ci="0"/><line nr="5" mi="2" ci="0"/>
<counter type="LINE" missed="2" covered="1"/></sourcefile></package></group></report>"#,
    );
    assert_eq!(parsed.files.len(), 1);
    assert_eq!(
        (
            parsed.files[0].path.as_str(),
            parsed.files[0].missed.as_str()
        ),
        ("org/app/Main.java", "4-5")
    );
    assert_eq!(parsed.summary.lines, Some((3, 1)));
}

fn brief(findings: &[Finding]) -> Vec<String> {
    let line = |it: &Finding| {
        format!(
            "{} {} | {}:{} | {}",
            it.severity.label(),
            it.title,
            it.path,
            it.line.unwrap_or(0),
            it.identifier
        )
    };
    findings.iter().map(line).collect()
}

#[test]
fn code_quality_is_code_climates() {
    let parsed = parse(
        "codequality",
        r#"[{"type":"issue","check_name":"no-unused","description":"'a' is unused","severity":"minor","fingerprint":"f1",
"location":{"path":"./src/a.js","lines":{"begin":7,"end":8}},"content":{"body":"Remove it."}},
{"description":"Too long","check_name":"len","severity":"blocker","location":{"path":"b.js","positions":{"begin":{"line":3,"column":1}}}},
{"description":"Too long","check_name":"len","severity":"major","location":{"path":"b.js","lines":{"begin":{"line":9}}}},
{"description":"again","severity":"info","fingerprint":"f1","location":{"path":"c.js"}}]"#,
    );
    assert_eq!(
        brief(&parsed.findings),
        [
            "low 'a' is unused | src/a.js:7 | no-unused",
            "critical Too long | b.js:3 | len",
            "medium Too long | b.js:9 | len",
        ]
    );
    assert_eq!(parsed.findings[0].description, "Remove it.");
    assert_ne!(
        parsed.findings[1].fingerprint,
        parsed.findings[2].fingerprint
    );
    let moved = parse(
        "codequality",
        r#"[{"description":"Too long","check_name":"len","severity":"major","location":{"path":"b.js","lines":{"begin":99}}}]"#,
    );
    assert_eq!(
        moved.findings[0].fingerprint, parsed.findings[1].fingerprint,
        "a finding may move"
    );
}

#[test]
fn security_reports_name_places_of_all_kinds() {
    let parsed = parse(
        "sast",
        r#"{"version":"15.0.0","scan":{"scanner":{"id":"s","name":"Semgrep"},"type":"sast","status":"success","messages":[{"level":"warn","value":"one file was skipped"}]},
"vulnerabilities":[{"id":"1","name":"SQL injection","description":"Bad.","severity":"Critical","solution":"Bind.",
"identifiers":[{"type":"cwe","name":"CWE-89","value":"89","url":"https://cwe.mitre.org/89"}],"location":{"file":"app/db.rb","start_line":5,"end_line":6}},
{"message":"old form","severity":"Weird","location":null,"identifiers":null}]}"#,
    );
    assert_eq!(
        brief(&parsed.findings),
        [
            "critical SQL injection | app/db.rb:5 | CWE-89",
            "unknown old form | :0 | "
        ]
    );
    assert_eq!(parsed.findings[0].scanner, "Semgrep");
    assert_eq!(
        parsed.findings[0].link.as_deref(),
        Some("https://cwe.mitre.org/89")
    );
    assert_eq!(
        parsed.summary.notes,
        ["The scanner says: one file was skipped"]
    );
    let parsed = parse(
        "container_scanning",
        r#"{"vulnerabilities":[{"name":"CVE-2026-1","severity":"High","identifiers":[{"name":"CVE-2026-1","url":"javascript:alert(1)"}],
"location":{"image":"app:1","dependency":{"package":{"name":"zlib"},"version":"1.2"}}}]}"#,
    );
    assert_eq!(
        brief(&parsed.findings),
        ["high CVE-2026-1 in zlib 1.2 | app:1:0 | CVE-2026-1"]
    );
    assert_eq!(
        parsed.findings[0].link, None,
        "only http addresses are links"
    );
    let parsed = parse(
        "dast",
        r#"{"vulnerabilities":[{"name":"XSS","severity":"medium","location":{"hostname":"https://x","path":"/a","method":"GET","param":"q"}}]}"#,
    );
    assert_eq!(brief(&parsed.findings), ["medium XSS | https://x/a:0 | "]);
}

#[test]
fn sarif_takes_severity_from_result_or_rule() {
    let parsed = parse(
        "sarif",
        r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"CodeQL","rules":[
{"id":"r1","shortDescription":{"text":"Injection"},"helpUri":"https://x/r1","defaultConfiguration":{"level":"error"},"properties":{"security-severity":"9.3"}},
{"id":"r2","defaultConfiguration":{"level":"note"}}]}},"results":[
{"ruleId":"r1","message":{"text":"here"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.c"},"region":{"startLine":3}}}],"partialFingerprints":{"p":"1"}},
{"ruleIndex":1,"message":{"text":"style"}},{"ruleId":"r3","level":"error","message":{"text":"unknown rule"}},
{"ruleId":"r1","kind":"pass","message":{"text":"fine"}},{"ruleId":"r1","suppressions":[{"kind":"inSource"}],"message":{"text":"hidden"}}]}]}"#,
    );
    assert_eq!(
        brief(&parsed.findings),
        [
            "critical Injection | a.c:3 | r1",
            "low style | :0 | r2",
            "high unknown rule | :0 | r3"
        ]
    );
    assert_eq!(parsed.findings[0].description, "here");
}

#[test]
fn small_reports_become_lists() {
    let entries = |file_type, text| -> Vec<String> {
        let entries = parse(file_type, text).summary.entries;
        entries
            .iter()
            .map(|it| format!("{}|{}|{}", it.group, it.name, it.value))
            .collect()
    };
    assert_eq!(
        entries("terraform", r#"{"create":1,"update":0,"delete":2}"#),
        ["|create|1", "|update|0", "|delete|2"]
    );
    assert_eq!(
        entries(
            "metrics",
            "# HELP x\nsize_bytes 12\nhits{path=\"a b\"} 3.5 1700000000\n"
        ),
        ["|size_bytes|12", "|hits{path=\"a b\"}|3.5"]
    );
    assert_eq!(
        entries(
            "cyclonedx",
            r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"library","group":"@a","name":"b","version":"1.2"}]}"#
        ),
        ["library|@a/b|1.2"]
    );
    assert_eq!(
        entries(
            "load_performance",
            r#"{"metrics":{"http_req_duration":{"avg":1.5,"p(95)":3.25}}}"#
        ),
        ["|http_req_duration|3.25"]
    );
    let parsed = parse(
        "annotations",
        r#"{"Review":[{"external_link":{"label":"Site","url":"https://x/"}},{"external_link":{"label":"Bad","url":"javascript:1"}}]}"#,
    );
    assert_eq!(
        (parsed.summary.entries.len(), parsed.summary.notes.len()),
        (1, 1)
    );
    let parsed = parse(
        "accessibility",
        r#"{"total":1,"errors":1,"passes":0,"results":{"https://x/":[{"code":"WCAG2AA.1","type":"error","message":"No title","selector":"html"}]}}"#,
    );
    assert_eq!(
        brief(&parsed.findings),
        ["high No title | https://x/:0 | WCAG2AA.1"]
    );
}

#[test]
fn copies_of_a_job_share_a_name() {
    for (job, group) in [
        ("unit 1/3", "unit"),
        ("unit 1:3", "unit"),
        ("unit 1 3", "unit"),
        ("unit tests 01 / 10", "unit tests"),
        ("unit: [linux, 1.2]", "unit"),
        ("unit", "unit"),
        ("unit 3", "unit 3"),
        ("1/3", "1/3"),
        ("a/b", "a/b"),
        ("deploy: now", "deploy: now"),
    ] {
        assert_eq!(group_name(job), group);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_report_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..400), which in 0_usize..6) {
        let kind = ["junit", "cobertura", "jacoco", "sast", "sarif", "metrics"][which];
        let _ = read(kind, ArtifactFormat::Raw, bytes.as_slice());
        let _ = read(kind, ArtifactFormat::Gzip, bytes.as_slice());
    }

    #[test]
    fn broken_reports_do_no_harm(at in 0_usize..300, byte in any::<u8>()) {
        let mut text = br#"<testsuites><testsuite name="s"><testcase name="a" time="1"><failure message="m">t &amp; <![CDATA[x]]></failure></testcase></testsuite></testsuites>"#.to_vec();
        let at = at % text.len();
        text[at] = byte;
        let _ = read("junit", ArtifactFormat::Raw, text.as_slice());
        text.truncate(at);
        let _ = read("junit", ArtifactFormat::Raw, text.as_slice());
    }
}
