//! Which expressions hold, which do not, and which are none, over one fixed set of variables.

use super::*;
use proptest::prelude::*;

fn variable(name: &str) -> Option<&'static str> {
    Some(match name {
        "A" => "a",
        "E" => "",
        "SP" => " ",
        "T" => "true",
        "F" => "false",
        "N" => "null",
        "NUM" => "1",
        "S" => "abc",
        "ML" => "x\nabc\ny",
        "SL" => "feature/x",
        "REF" => "$A",
        "PAT" => "/^ab.*/",
        "PATI" => "/AB/i",
        "NOTPAT" => "ab.*",
        "BADPAT" => "/(/",
        "SLP" => r"/feature\/x/",
        _ => return None,
    })
}

fn parse(text: &str) -> Result<Expression, InvalidExpression> {
    Expression::parse(text, &Patterns::default())
}

/// Checks one expression per line.
fn check(lines: &str, expected: Option<bool>) {
    let patterns = Patterns::default();
    for line in lines.lines().filter(|it| !it.is_empty()) {
        let holds = Expression::parse(line, &patterns)
            .map(|it| it.holds(&variable, &patterns))
            .ok();
        assert_eq!(holds, expected, "{line}");
    }
}

#[test]
fn holds() {
    check(HOLDS, Some(true));
}

#[test]
fn holds_not() {
    check(HOLDS_NOT, Some(false));
}

#[test]
fn is_no_expression() {
    check(INVALID, None);
    check("/ab/\n$A == /ab/\n$", None);
    assert!(parse("").is_err());
}

#[test]
fn an_expression_has_a_hundred_tokens_at_most() {
    let joined = |count| vec!["$A"; count].join(" && ");
    assert!(parse(&joined(50)).is_ok());
    assert!(parse(&joined(51)).is_err());
    assert!(parse(&"(".repeat(100_000)).is_err());
    assert!(parse(&"!".repeat(100_000)).is_err());
}

#[test]
fn an_invalid_expression_says_where() {
    let offset = |text| parse(text).unwrap_err().offset;
    assert_eq!(offset("$A == a"), 6);
    assert_eq!(offset("$A &&"), 5);
    assert_eq!(offset("($A"), 3);
    assert_eq!(offset("$A $A"), 3);
}

proptest! {
    #[test]
    fn never_panics(text in r#"[$A-C\[\]()!=~&|/"' a-eilnrstu\\é]{0,40}"#) {
        if let Ok(expression) = parse(&text) {
            expression.holds(&variable, &Patterns::default());
        }
    }
}

const HOLDS: &str = r##"
$A
$A == "a"
$A == 'a'
$A=="a"
"a" == $A
$U == null
$E == ""
$U != ""
null == null
$A != "b"
$A == $A
$U == $U2
$S =~ /abc/
$S =~ /ABC/i
$S =~ /a.c/s
$ML =~ /^abc$/m
$ML =~ /x.abc/s
$S =~ /a+?/U
$S =~ $PAT
$S =~ $PATI
$S !~ $NOTPAT
$S !~ $U
$E =~ /^$/
$E =~ /.*/
$U =~ /.*/
$S !~ $BADPAT
$S =~ "abc"
$S =~ "/abc/"
"abc" =~ $PAT
$SL =~ /feature\/x/
$SL =~ $SLP
$S =~ /[a-c]{3}/
$S =~ /\d/ || $S =~ /\w/
$A || $U
$U && $A || $A
$A || $U && $U
$A && ($U || $T)
(($A))
$A == "a" && $S =~ /c$/ || $U
$A == "x" || $A == "a"
!$U
!$E
!($A && $U)
!!$A
$A && !$U
!$U && $A == "a"
!$A || $A
true
$T
$F
$T == true
$F == false
$T == "true"
true == true
$A && true
$NUM == "1"
"a"
'a' == "a"
"it's" == "it's"
$REF == "$A"
$A_1 == null
$A == "a" == true
 $A
$E && $A
$SP && $A
!$E && $A
$E == "" || $A
$U || $A
"b" =~ "abc"
"" =~ "abc"
$S =~ /ab/
$S =~ /ab/ && $S =~ /bc/
$S =~ /ab/i && $S =~ /bc/
$SL =~ /^feature\/.*$/
$S =~/ab/
$S=~/ab/
"v1.2" =~ /^v\d+\.\d+$/
"v1" =~ /^v\d+(-rc\d+)?$/
$S =~ /(?i)ABC/
$S =~ /(a)(b)/
$S =~ /\bab/
$S =~ /\Aab/
$S =~ /[[:alpha:]]+/
$S =~ /\p{L}+/
$S =~ /(?<n>ab)/
$S =~ /(?P<n>ab)/
$S =~ /ab/ims
true && "x"
$A == null || $A == "a"
!null
$A != "x" == true
"a" && "b" || "c"
("a" && "b") || "c"
"##;

const HOLDS_NOT: &str = r##"
$E
$U
$SP
$E == null
$U == ""
$U != null
null
$A == $U
$S =~ /^b/
$S =~ /ABC/
$ML =~ /^abc$/
$ML =~ /x.abc/
$ML =~ /x.abc/m
$S =~ $NOTPAT
$S =~ $U
$S =~ $BADPAT
$S =~ /\//
$A && $U
$A && $E
$U || $E
($A || $U) && $U
!$A
!$A == "a"
! $A
false
$A == true
$A && false
""
''
$REF == "a"
"$A" == "a"
$a == "a"
$A == $A == $A
$[[ inputs.x ]] == "y"
$A == "x" || $A == "a" && $U
$A != "a" && $A != "b"
$E || $A
$E && $E
$SP || $A
($E || $A) == "a"
$U && $A
"abc" =~ "b"
$S =~ /ab//
$S =~ /ab\/cd/
$S =~ /ab\z/
$A != null && $E == null
null == false
$U == false
!($U == null)
"##;

const INVALID: &str = r##"
$A == a
$S =~ /abc/x
$S =~ /abc/g
$U =~ /a/
$U !~ /a/
$SL =~ /feature/x/
$S =~ /a/ && $A
$S =~ //
$S =~ /a/
$S =~ /ab
$S =~ /(?=a)/
($A
$A)
()
$NUM == 1
${A} == "a"
$A = "a"
$A === "a"
$A == "a" and $A
$A == "a" $A
"a" "b"
"say \"x\""
$A == "a" # c
$A.b
nullx
$A == nullx
nulll == null
truex
$A == trueish
$A > "a"
$A =~ /a/ == "a"
$S =~ /b/ =~ /x/
&& $A
$A &&
== "a"
$A ==
$S =~ /ab\\/
$S =~ /ab\Z/
$S =~ /a{2000}/
$S =~ /(a)\1/
"##;
