//! The command line and the environment of the validator: what is taken, and what is said of the rest.

use super::*;
use clap::{Command, FromArgMatches};

/// Reads a command line and an environment.
fn read(form: Form, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
    let command = <ValidateArgs as clap::Args>::augment_args(Command::new("validate").no_binary_name(true));
    let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
    let flags = ValidateArgs::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    let variable = |name: &str| {
        let found = environment.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let given = Given { flags: &flags, environment: &variable };
    Settings::read(&given, form, 1337).map_err(|error| error.to_string())
}

fn validate(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
    read(Form::Validate, arguments, environment)
}

#[test]
fn the_injection_templates_arguments_are_taken_as_they_are() {
    let template = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x 10.0.0.0/8 -b * -d 15090,15021,15020 -q 80,90 -o 9 \
                    -k virbr0 -c eth1 --log_output_level=default:info --log_as_json --run-validation --skip-rule-apply \
                    --native-nftables";
    let mut arguments: Vec<&str> = template.split_ascii_whitespace().collect();
    let settings = read(Form::IstioIptables, &arguments, &[]).unwrap();
    assert!(settings.json && settings.level == Level::Info && settings.warnings.is_empty());
    assert_eq!(settings.plan, validate(&[], &[]).unwrap().plan, "they are the defaults");
    // Ranges may be empty.
    arguments.extend(["-x", "", "-i", ""]);
    read(Form::IstioIptables, &arguments, &[]).unwrap();
}

#[test]
fn a_flag_wins_over_its_variable_and_the_last_one_over_the_others() {
    let environment = [("INBOUND_CAPTURE_PORT", "16006"), ("PROBE_TIMEOUT", "2s"), ("ENVOY_PORT", "1")];
    let plan = validate(&["-z", "1", "--inbound-capture-port", "17006"], &environment).unwrap().plan;
    assert_eq!((plan.inbound_port, plan.outbound_port, plan.timeout), (17006, 15001, Duration::from_secs(2)));
    assert_eq!(validate(&[], &environment).unwrap().plan.inbound_port, 16006);
}

#[test]
fn a_value_that_is_not_allowed_is_named_with_what_is() {
    for (arguments, environment, said) in [
        (vec!["-p", "0"], vec![], "--envoy-port is \"0\": it takes a port from 1 to 65535"),
        (vec![], vec![("IPTABLES_PROBE_PORT", "x")], "IPTABLES_PROBE_PORT is \"x\": it takes a port from 1 to 65535"),
        (
            vec!["--probe-timeout", "2h"],
            vec![],
            "--probe-timeout is \"2h\": it takes a time such as 5s or 500ms, at most 1h",
        ),
        (vec!["--dual-stack=maybe"], vec![], "--dual-stack is \"maybe\": it takes true or false"),
        (
            vec!["--force-iptables-binary", "x"],
            vec![],
            "--force-iptables-binary is \"x\": it takes legacy, nft or nothing",
        ),
        (vec!["--log_output_level", "all:loud"], vec![], "--log_output_level is \"all:loud\": it takes a level"),
    ] {
        let error = validate(&arguments, &environment).unwrap_err();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn what_makes_no_sense_and_the_reference_takes_is_warned_of() {
    for (arguments, environment, said) in [
        (vec!["-u", "abc"], vec![], "--proxy-uid is \"abc\", which is no user's number"),
        (vec!["-u", "-1"], vec![], "--proxy-uid is \"-1\", which is no user's number"),
        (vec![], vec![("PROXY_UID", "joe")], "PROXY_UID is \"joe\", which is no user's number"),
        (vec!["-p", "15006"], vec![], "--envoy-port and --inbound-capture-port are both 15006"),
        (vec!["-p", "7", "-z", "7"], vec![], "--envoy-port and --inbound-capture-port are both 7"),
    ] {
        let settings = validate(&arguments, &environment).unwrap();
        assert!(settings.warnings.len() == 1 && settings.warnings[0].starts_with(said), "{:?}", settings.warnings);
    }
    for arguments in [vec!["-u", ""], vec!["-u", " 1337"], vec![]] {
        assert_eq!(validate(&arguments, &[]).unwrap().warnings, Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn who_asks_for_rules_is_told_that_none_are_made() {
    for (arguments, missing) in [(vec![], "run-validation"), (vec!["--run-validation"], "skip-rule-apply")] {
        let error = read(Form::IstioIptables, &arguments, &[]).unwrap_err();
        assert!(error.contains(&format!("--{missing} is not given")), "{error}");
    }
}

#[test]
fn the_proxys_dual_stack_switch_is_read_as_the_plugin_reads_it() {
    let dual = |value| validate(&[], &[("ISTIO_DUAL_STACK", value)]).map(|it| (it.plan.dual_stack, it.warnings.len()));
    assert_eq!([dual("true"), dual("0"), dual("maybe")], [Ok((true, 0)), Ok((false, 0)), Ok((false, 1))]);
    assert!(!validate(&["--dual-stack=false"], &[("ISTIO_DUAL_STACK", "true")]).unwrap().plan.dual_stack);
}

#[test]
fn the_level_is_that_of_the_nearest_scope() {
    for (value, level) in [
        ("debug", Level::Debug),
        ("default:error", Level::Error),
        ("default:error,validation:debug", Level::Debug),
        ("validation:debug,all:none,other:error", Level::Off),
        ("", Level::Info),
    ] {
        assert_eq!(validate(&["--log_output_level", value], &[]).unwrap().level, level, "{value}");
    }
}
