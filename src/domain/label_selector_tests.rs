//! What selectors of labels hold for, as the API server has it.

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn each_operator_means_what_the_api_server_means_by_it() {
    let object = labels(&[("app", "web"), ("tier", ""), ("weight", "7"), ("in", "notin")]);
    for (text, selected) in [
        ("", true),
        (" \t\r\n", true),
        ("app", true),
        ("absent", false),
        ("!absent", true),
        ("! absent", true),
        ("!app", false),
        ("app=web", true),
        ("app==web", true),
        ("app = web", true),
        ("app=db", false),
        ("app!=db", true),
        ("app!=web", false),
        ("absent!=web", true),
        ("absent=", false),
        ("tier=", true),
        ("tier==,app", true),
        ("tier!=", false),
        ("app in (web)", true),
        ("app in(db,web)", true),
        ("app in ( db , web )", true),
        ("app in (db)", false),
        ("absent in (web)", false),
        ("tier in (a,)", true),
        ("tier in (,a)", true),
        ("tier in (a,,b)", true),
        ("app in (a,)", false),
        ("app notin (db)", true),
        ("app notin (db,web)", false),
        ("absent notin (web)", true),
        ("tier notin (,)", false),
        ("weight>6", true),
        ("weight > 7", false),
        ("weight<8", true),
        ("app>1", false),
        ("absent<1", false),
        ("in=notin", true),
        ("in in (notin,in)", true),
        ("app=web,tier=,!canary", true),
        ("app=web,tier=x", false),
    ] {
        let selector = LabelSelector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(selector.selects(&object), selected, "{text:?}");
    }
}

#[test]
fn what_is_no_selector_is_refused_with_what_is_wrong() {
    for (text, problem) in [
        (",", r#"found "," where a label's key should be"#),
        ("a,", "found the end where a label's key should be"),
        ("a,,b", r#"found "," where a label's key should be"#),
        ("a b", r#"found "b" where =, ==, !=, >, <, in or notin should be"#),
        ("a===b", r#"found "=" where a value should be"#),
        ("!a=b", r#"found "=" where a comma or the end should be"#),
        ("=b", r#"found "=" where a label's key should be"#),
        ("a in b", r#"found "b" where an opening parenthesis should be"#),
        ("a in ()", "there is no value between the parentheses"),
        ("a in (b", "found the end where a comma or a closing parenthesis should be"),
        ("a in (b c)", r#"found "c" where a comma or a closing parenthesis should be"#),
        ("a in (b))", r#"found ")" where a comma or the end should be"#),
        ("a>b", r#""b" is not a whole number"#),
        ("a<", r#""" is not a whole number"#),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), problem, "{text:?}");
    }
    let error = LabelSelector::parse("-a").unwrap_err().to_string();
    assert!(error.starts_with(r#""-a" is no key: it takes a label's key"#), "{error}");
    let error = LabelSelector::parse("a=b/c").unwrap_err().to_string();
    assert!(error.starts_with(r#""b/c" is no value: it takes a label's value"#), "{error}");
}

#[test]
fn the_labels_that_it_asks_about_are_known() {
    let selector = LabelSelector::parse("app=web,!canary,zone in (a,b),x.io/y").unwrap();
    assert_eq!(selector.keys().collect::<Vec<_>>(), ["app", "canary", "zone", "x.io/y"]);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z=!(),<> 0-9./-]{0,40}|\\PC{0,40}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            selector.selects(&labels(&[("a", "b")]));
        }
    }

    #[test]
    fn equal_and_not_equal_are_opposites_and_so_are_in_and_notin(
        key in "[ab]", value in "[a-z]{0,2}", more in "[a-z]{1,2}", has in "[ab]", is in "[a-z]{0,2}",
    ) {
        let object = labels(&[(has.as_str(), is.as_str())]);
        let holds = |text: String| LabelSelector::parse(&text).unwrap().selects(&object);
        let is_it = has == key && is == value;
        proptest::prop_assert_eq!(holds(format!("{key}={value}")), is_it);
        proptest::prop_assert_eq!(holds(format!("{key}!={value}")), !is_it);
        let among = has == key && (is == value || is == more);
        proptest::prop_assert_eq!(holds(format!("{key} in ({value},{more})")), among);
        proptest::prop_assert_eq!(holds(format!("{key} notin ({value},{more})")), !among);
        proptest::prop_assert_eq!(holds(key.clone()), has == key);
        proptest::prop_assert_eq!(holds(format!("!{key}")), has != key);
    }

    #[test]
    fn all_requirements_must_hold(first in "!?[ab](=[xy]?)?", second in "[ab](!=|==)[xy]", is in "[xy]") {
        let object = labels(&[("a", &is)]);
        let Ok(one) = LabelSelector::parse(&first) else { return Ok(()) };
        let other = LabelSelector::parse(&second).unwrap();
        let both = LabelSelector::parse(&format!("{first} , {second}")).unwrap();
        proptest::prop_assert_eq!(both.selects(&object), one.selects(&object) && other.selects(&object));
    }
}
