//! What Go 1.26 answered to these spellings.

use super::*;

#[test]
fn ranges_that_go_accepts_are_accepted_with_their_host_bits() {
    for (text, loopback) in [
        ("10.0.0.0/8", false),
        ("10.1.2.3/8", false),
        ("0.0.0.0/0", false),
        ("10.0.0.0/0", false),
        ("::/0", false),
        ("::1/128", true),
        ("fd00:2::/64", false),
        ("::ffff:1.2.3.4/120", false),
        ("::ffff:1.2.3.4/24", false),
        ("::ffff:127.0.0.1/128", true),
        ("1:2:3:4:5:6:7:8/64", false),
        ("1:2:3:4:5:6:1.2.3.4/16", false),
        ("1:2:3:4:5:6:7::/8", false),
    ] {
        let net = parse(text).unwrap();
        assert_eq!(is_loopback(&net), loopback, "{text}");
        let (address, length) = text.split_once('/').unwrap();
        assert_eq!(net.addr(), address.parse::<IpAddr>().unwrap());
        assert_eq!(net.prefix_len().to_string(), length);
    }
}

#[test]
fn what_go_refuses_is_refused_in_the_same_words() {
    for (text, words) in [
        ("10.2.0.0/99", "prefix length out of range"),
        ("10.0.0.1", "no '/'"),
        ("", "no '/'"),
        ("/", r#"ParseAddr(""): unable to parse IP"#),
        ("*", "no '/'"),
        ("10.0.0.0/08", r#"bad bits after slash: "08""#),
        ("10.0.0.0/+8", r#"bad bits after slash: "+8""#),
        ("10.0.0.0/-1", r#"bad bits after slash: "-1""#),
        ("10.0.0.0/", r#"bad bits after slash: """#),
        ("10.0.0.0/a", r#"bad bits after slash: "a""#),
        ("10.0.0.0/33", "prefix length out of range"),
        ("10.0.0.0/00", r#"bad bits after slash: "00""#),
        ("10.0.0/8", r#"ParseAddr("10.0.0"): IPv4 address too short"#),
        ("10.0.0.0.0/8", r#"ParseAddr("10.0.0.0.0"): IPv4 address too long"#),
        ("10..0.0/8", r#"ParseAddr("10..0.0"): IPv4 field must have at least one digit (at ".0.0")"#),
        (".1.2.3/8", r#"ParseAddr(".1.2.3"): IPv4 field must have at least one digit (at ".1.2.3")"#),
        ("1.2.3./8", r#"ParseAddr("1.2.3."): IPv4 field must have at least one digit (at ".")"#),
        ("01.2.3.4/8", r#"ParseAddr("01.2.3.4"): IPv4 field has octet with leading zero"#),
        ("1.2.3.256/8", r#"ParseAddr("1.2.3.256"): IPv4 field has value >255"#),
        ("1.2.3.4x/8", r#"ParseAddr("1.2.3.4x"): unexpected character (at "x")"#),
        ("1.2.3.4 /8", r#"ParseAddr("1.2.3.4 "): unexpected character (at " ")"#),
        (" 1.2.3.4/8", r#"ParseAddr(" 1.2.3.4"): unexpected character (at " 1.2.3.4")"#),
        ("1.2.3.4/8 ", r#"bad bits after slash: "8 ""#),
        ("abc/8", r#"ParseAddr("abc"): unable to parse IP"#),
        ("fd00::/129", "prefix length out of range"),
        ("fe80::1%eth0/64", "IPv6 zones cannot be present in a prefix"),
        ("fe80::1%/64", r#"ParseAddr("fe80::1%"): zone must be a non-empty string"#),
        ("fe80%1::/64", r#"ParseAddr("fe80%1::"): missing IPv6 address"#),
        ("%/1", r#"ParseAddr("%"): missing IPv6 address"#),
        ("1:2:3:4:5:6:7/64", r#"ParseAddr("1:2:3:4:5:6:7"): address string too short"#),
        ("1:2:3:4:5:6:7:8:9/64", r#"ParseAddr("1:2:3:4:5:6:7:8:9"): trailing garbage after address (at "9")"#),
        ("1::2::3/64", r#"ParseAddr("1::2::3"): multiple :: in address (at ":3")"#),
        ("12345::/16", r#"ParseAddr("12345::"): each group must have 4 or less digits (at "12345::")"#),
        ("1:/16", r#"ParseAddr("1:"): colon must be followed by more characters (at ":")"#),
        (":1/16", r#"ParseAddr(":1"): each colon-separated field must have at least one digit (at ":1")"#),
        (":::/16", r#"ParseAddr(":::"): each colon-separated field must have at least one digit (at ":")"#),
        ("g::/16", r#"ParseAddr("g::"): each colon-separated field must have at least one digit (at "g::")"#),
        (
            "1:2:3:4:5:6:7:1.2.3.4/16",
            r#"ParseAddr("1:2:3:4:5:6:7:1.2.3.4"): embedded IPv4 address must replace the final 2 fields of the address (at "1.2.3.4")"#,
        ),
        ("1::2:3:4:5:6:7:8/16", r#"ParseAddr("1::2:3:4:5:6:7:8"): the :: must expand to at least one field of zeros"#),
        ("::1.2.3/16", r#"ParseAddr("::1.2.3"): IPv4 address too short"#),
        ("::1.2.3.04/16", r#"ParseAddr("::1.2.3.04"): IPv4 field has octet with leading zero"#),
        ("::1.2.3.4.5/16", r#"ParseAddr("::1.2.3.4.5"): IPv4 address too long"#),
        ("1.2.3.4:5/16", r#"ParseAddr("1.2.3.4:5"): unexpected character (at ":5")"#),
        ("fd00::/999999999999999999999", r#"bad bits after slash: "999999999999999999999""#),
        ("é.0.0.0/8", r#"ParseAddr("é.0.0.0"): unexpected character (at "é.0.0.0")"#),
        ("10.0.0.0/\"8", r#"bad bits after slash: "\"8""#),
        ("1.2.3.4\n/8", r#"ParseAddr("1.2.3.4\n"): unexpected character (at "\n")"#),
        ("::00001/8", r#"ParseAddr("::00001"): each group must have 4 or less digits (at "00001")"#),
        ("::10000/8", r#"ParseAddr("::10000"): each group must have 4 or less digits (at "10000")"#),
        ("::ffff:1.2.3.4:5/8", r#"ParseAddr("::ffff:1.2.3.4:5"): unexpected character (at ":5")"#),
        ("::1:2:3:4:5:6:7:8/8", r#"ParseAddr("::1:2:3:4:5:6:7:8"): the :: must expand to at least one field of zeros"#),
        ("1.2.3.4/8/9", r#"ParseAddr("1.2.3.4/8"): unexpected character (at "/8")"#),
        ("1:x::/3", r#"ParseAddr("1:x::"): each colon-separated field must have at least one digit (at "x::")"#),
        ("1 ::/3", r#"ParseAddr("1 ::"): unexpected character, want colon (at " ::")"#),
        ("::1%25/3", "IPv6 zones cannot be present in a prefix"),
        ("::1 /3", r#"ParseAddr("::1 "): unexpected character, want colon (at " ")"#),
        ("1.1.1.1%eth0/8", r#"ParseAddr("1.1.1.1%eth0"): unexpected character (at "%eth0")"#),
        (
            "1111:2222:3333:4444:5555:6666:7777:8888:/3",
            r#"ParseAddr("1111:2222:3333:4444:5555:6666:7777:8888:"): colon must be followed by more characters (at ":")"#,
        ),
        ("::1.2.3.4%z/3", "IPv6 zones cannot be present in a prefix"),
        ("::300.2.3.4/3", r#"ParseAddr("::300.2.3.4"): IPv4 field has value >255"#),
        ("::1.a.3.4/3", r#"ParseAddr("::1.a.3.4"): unexpected character (at "a.3.4")"#),
        ("::a.1.3.4/3", r#"ParseAddr("::a.1.3.4"): unexpected character (at "a.1.3.4")"#),
        (
            "1:2:3:4:5:6:7:1.2.3.4x/3",
            r#"ParseAddr("1:2:3:4:5:6:7:1.2.3.4x"): embedded IPv4 address must replace the final 2 fields of the address (at "1.2.3.4x")"#,
        ),
    ] {
        assert_eq!(parse(text), Err(format!("netip.ParsePrefix({}): {words}", quote(text))));
    }
}
