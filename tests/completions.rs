//! The script of `completions bash`, in a real bash: commands, flags and values of flags are completed.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::Command;

/// What bash offers for these words, the last of which is being typed.
fn offered(words: &[&str]) -> Vec<String> {
    let script = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel")).args(["completions", "bash"]).output().unwrap();
    assert!(script.status.success());
    let ask = format!(
        "{}\nfor word in $(complete -p istio-cni-otel); do [ \"$last\" = -F ] && by=$word; last=$word; done
        COMP_WORDS=({words}); COMP_CWORD={last}; $by {name} '{current}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        String::from_utf8(script.stdout).unwrap(),
        words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        last = words.len() - 1,
        name = words[0],
        current = words[words.len() - 1],
        before = words[words.len() - 2],
    );
    let answer = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
    String::from_utf8(answer.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_their_flags_and_the_values_of_flags() {
    assert_eq!(offered(&["istio-cni-otel", "doc"]), ["doctor"]);
    assert_eq!(offered(&["istio-cni-otel", "doctor", "--bun"]), ["--bundle"]);
    assert_eq!(offered(&["istio-cni-otel", "rules", "--backend", "nft"]), ["nftables"]);
}
