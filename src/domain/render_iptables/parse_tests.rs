//! Reading rules: the spellings of other versions, and what is beyond us.

use super::*;

fn understood(line: &str) -> Option<Rule> {
    parse_rule(line, Family::V4)?.rule()
}

#[test]
fn every_spelling_of_a_rule_is_that_rule() {
    for spellings in [
        &[
            "-A C ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
            "[12:3456] -A C ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
            "-A C -o lo ! -d 127.0.0.1 -p 6 -m owner --uid-owner 1337 -m tcp ! --dport 15008 -j ISTIO_IN_REDIRECT",
            "-A C -d ! 127.0.0.1/255.255.255.255 -o lo -p tcp --dport ! 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
            "-A C ! --destination 127.0.0.1/32 --out-interface lo --protocol tcp -m multiport ! --dports 15008 -m owner --uid-owner 1337 -m comment --comment \"-j the \\\"proxy\\\"\" -j ISTIO_IN_REDIRECT",
        ][..],
        &[
            "-A C -p tcp -m mark --mark 0x539 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "-A C -p tcp -m mark --mark 0x539/0xffffffff -j CONNMARK --save-mark",
            "-A C -p tcp -m mark --mark 1337 -j CONNMARK --save-mark --ctmask 0xffffffff --nfmask 0xffffffff",
        ],
        &[
            "-A C -p tcp -m connmark --mark 0x539 -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "-A C -p tcp -m connmark --mark 0x539/0xffffffff -j CONNMARK --restore-mark",
        ],
        &[
            "-A C ! -d 127.0.0.1/32 -p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff",
            "-A C ! -d 127.0.0.1/32 -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539",
        ],
        &["-A C -j MARK --set-xmark 0x539/0xffffffff", "-A C -j MARK --set-mark 1337"],
        &[
            "-A C -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
            "-A C -p tcp -m state --state ESTABLISHED,RELATED -j ISTIO_DIVERT",
        ],
        &["-A C -j ISTIO_REDIRECT", "-A C -s 0.0.0.0/0 -d 0.0.0.0/0 -j ISTIO_REDIRECT"],
        &["-A C -d 10.2.0.0/16 -j RETURN", "-A C -d 10.2.0.0/255.255.0.0 -j RETURN", "-A C -d 10.2.3.4/16 -j RETURN"],
    ] {
        let rules: Vec<Option<Rule>> = spellings.iter().map(|line| understood(line)).collect();
        assert!(rules[0].is_some(), "{} is beyond us", spellings[0]);
        for (line, rule) in spellings.iter().zip(&rules) {
            assert_eq!(rule, &rules[0], "{line}");
        }
    }
}

#[test]
fn what_the_model_cannot_say_is_never_a_rule_of_ours() {
    for line in [
        "-A OUTPUT",
        "-A OUTPUT -p tcp",
        "-A OUTPUT -g ISTIO_OUTPUT",
        "-A OUTPUT ! -o lo -j ISTIO_OUTPUT",
        "-A OUTPUT ! -p tcp -j ISTIO_OUTPUT",
        "-A OUTPUT -p tcp -m tcp --syn -j ISTIO_OUTPUT",
        "-A OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ISTIO_OUTPUT",
        "-A OUTPUT -p tcp -m tcp --dport 80:90 -j RETURN",
        "-A OUTPUT -m owner --uid-owner 0-99 -j RETURN",
        "-A OUTPUT -m mark --mark 0x539/0xfff -j RETURN",
        "-A OUTPUT -m addrtype --dst-type LOCAL -j RETURN",
        "-A OUTPUT -m limit --limit 5/min -j RETURN",
        "-A OUTPUT -d fd00::/8 -j RETURN",
        "-A OUTPUT -j REDIRECT --to-ports 15001 --random",
        "-A OUTPUT -j REDIRECT --to-ports 15001-15009",
        "-A OUTPUT -j MARK --set-xmark 0x539/0xff",
        "-A OUTPUT -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xffffffff",
        "-A OUTPUT -j TPROXY --on-port 15006 --on-ip 10.0.0.1 --tproxy-mark 0x539/0xffffffff",
        "-A OUTPUT -j CT --zone 1 --notrack",
        "-A OUTPUT -j CT --zone-orig 1",
        "-A OUTPUT -j DNAT --to-destination 10.0.0.1",
        "-A OUTPUT -j ISTIO_PRERT",
        "-A OUTPUT -j OUTPUT",
        "-A OUTPUT -j KUBE-SERVICES",
    ] {
        let parsed = parse_rule(line, Family::V4).unwrap();
        assert_eq!(parsed.rule(), None, "{line}");
    }
}

#[test]
fn an_unknown_option_does_not_hide_the_target() {
    let parsed = parse_rule("-A OUTPUT -p tcp --syn -j ISTIO_OUTPUT", Family::V4).unwrap();
    assert_eq!((parsed.target.as_str(), parsed.matches), ("ISTIO_OUTPUT", None));
    let parsed = parse_rule("-A OUTPUT --socket-exists ! -o lo -g ISTIO_OUTPUT", Family::V4).unwrap();
    assert_eq!((parsed.target.as_str(), parsed.matches), ("ISTIO_OUTPUT", None));
}

#[test]
fn other_lines_are_no_rules() {
    for line in ["", "*nat", "COMMIT", ":OUTPUT ACCEPT [0:0]", "# Completed on Thu", "-N ISTIO_OUTPUT", "-A"] {
        assert_eq!(parse_rule(line, Family::V4), None, "{line}");
    }
}
