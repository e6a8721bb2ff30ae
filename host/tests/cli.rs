//! The program from outside: help, the list of paths, and what is refused. Runs that train are elsewhere.

use std::io::Read;
use std::process::{Command, Output, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rivergram"));
    command.env_remove("RIVERGRAM_PATH");
    command
}

fn run(line: &str) -> Output {
    let output = program().args(line.split_whitespace()).output();
    output.expect("the program starts")
}

fn stdout(line: &str) -> String {
    let output = run(line);
    assert!(output.status.success(), "{line}: {output:?}");
    assert!(output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one line that a refused command prints.
fn refusal(line: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let output = program()
        .args(line.split_whitespace())
        .current_dir(&folder)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
    assert!(output.stdout.is_empty(), "{line}: {output:?}");
    let left = std::fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(left, 0, "{line}: files are left behind");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.starts_with("error: "), "{line}: {text}");
    assert_eq!(text.lines().count(), 1, "{line}: {text}");
    text
}

fn assert_refused(line: &str, parts: &[&str]) {
    let text = refusal(line);
    for part in parts {
        assert!(text.contains(part), "{line}: {part:?} is not in {text}");
    }
}

#[test]
fn help_explains_everything() {
    let help = stdout("--help");
    for part in ["train", "tune", "stream", "paths", "Examples:"] {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
    let help = stdout("train --help");
    let flags = "--data --test --modality --anchor --dim --loss --pairs --warmup-cosine --tau --label-smoothing \
                 --unseen --noise --ngrams --select --hidden --batch --steps --budgets --schedule --decay \
                 --decay-fraction --lr --floor --warmup --unit --seed --out --save-every --keep-budgets --add-budgets --resume --threads --path --precision --json --quiet";
    let values = "exact tf32 bf16 gram gram-symmetric cosine cosine-pairs softmax detached logsumexp wsd-s wsd cyclic constant \
                  inverse-proportional linear one-minus-sqrt one-minus-square geometric inverse-sqrt shuffle:K";
    for part in flags.split_whitespace().chain(values.split_whitespace()) {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
    let help = stdout("ask --help");
    for part in ["decay", "cancel", "extend", "10%", "release-START-END"] {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
    assert!(stdout("tune --help").contains("--held-out-voices"));
    let help = stdout("stream --help");
    let flags = "--schedule --updates --arrivals --releases --decay-updates --decay --memory --replayed --half-life \
                 --batch --hidden --lr --seeds --seed --picture --threads --path --precision --json --quiet Examples:";
    let values = "wsd-s wsd wsd-paused cyclic-told cyclic-told-area cyclic constant constant-ema constant-mean";
    for part in flags.split_whitespace().chain(values.split_whitespace()) {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
    let commands = [
        (
            "gallery --help",
            "--data --modality --run --items --out --bases --vectors --path --json --quiet int8 Examples:",
        ),
        (
            "search --help",
            "--queries --run --modality --first --top --by --candidates --format --unchecked --threads --path --precision --quiet \
             exact bf16 volume distance cosines jsonl Examples:",
        ),
    ];
    for (line, parts) in commands {
        let help = stdout(line);
        for part in parts.split_whitespace() {
            assert!(help.contains(part), "{part:?} is not in {help}");
        }
    }
    assert!(stdout("--version").starts_with("rivergram "));
}

/// The flags of a help text that take a value, each with all that is said of it.
fn flags_with_values(help: &str) -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines().map(str::trim) {
        let flag = line
            .strip_prefix("--")
            .and_then(|rest| rest.split(' ').next());
        match (flag, flags.last_mut()) {
            (Some(flag), _) => flags.push((flag.to_string(), line.to_string())),
            (None, Some((_, text))) if !line.is_empty() => *text += &format!(" {line}"),
            (None, _) => {}
        }
    }
    flags.retain(|(flag, text)| text.contains(&format!("--{flag} <")));
    flags
}

#[test]
fn every_command_has_examples_and_tells_its_defaults() {
    // What has to be given, or decides by being there.
    let given = ["data", "modality", "run", "out", "queries"];
    for command in [
        "train", "tune", "stream", "gallery", "search", "paths", "ask",
    ] {
        let help = stdout(&format!("{command} --help"));
        let (_, examples) = help.split_once("Examples:").expect(command);
        let example = format!("rivergram {command}");
        assert!(examples.contains(&example), "{command}: {examples}");
        for (flag, text) in flags_with_values(&help) {
            let is_told = text.contains("default: ") || given.contains(&flag.as_str());
            assert!(is_told, "{command} --{flag}: {text}");
        }
    }
    let flags = flags_with_values(&stdout("train --help"));
    assert!(flags.len() > 25, "{flags:?}");
}

#[cfg(feature = "demo-data")]
#[test]
fn tune_tells_how_it_goes_unless_it_is_to_be_quiet() {
    let line = "tune --loss cosine --tau 0.2 --hidden 0 --steps 2 --seeds 1";
    let told = |line: &str| {
        let output = run(line);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let text = told(line);
    assert!(text.contains("cosine at τ = 0.2"), "{text}");
    assert_eq!(told(&format!("{line} --quiet")), "");
}

#[test]
fn paths_are_listed_with_the_reason_of_the_choice() {
    let text = stdout("paths");
    assert!(
        text.contains("chosen: the fastest of this machine"),
        "{text}"
    );
    for name in ["scalar", "sse2", "avx2", "neon"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{text}");
    }
    let text = stdout("paths --path scalar");
    assert!(text.contains("yes, chosen: asked for by --path"), "{text}");
}

#[test]
fn paths_are_listed_as_json() {
    let text = stdout("paths --json --path scalar");
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["chosen"], "scalar");
    assert_eq!(value["reason"], "asked for by --path");
    let paths = value["paths"].as_array().expect("a list");
    let scalar = paths.iter().find(|path| path["name"] == "scalar");
    assert_eq!(scalar.expect("scalar")["available"], true);
}

#[test]
fn the_variable_chooses_a_path_and_is_named_where_it_is_wrong() {
    let mut command = program();
    command.arg("paths").env("RIVERGRAM_PATH", "scalar");
    let output = command.output().expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("asked for by RIVERGRAM_PATH"), "{text}");

    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let mut command = program();
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        let output = command.arg("paths").env("RIVERGRAM_PATH", name).output();
        let output = output.expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("RIVERGRAM_PATH"));
    }

    let mut command = program();
    command.arg("paths").env("RIVERGRAM_PATH", "mmx");
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(
        text.contains("RIVERGRAM_PATH") && text.contains("mmx"),
        "{text}"
    );
}

#[test]
fn unknown_values_are_refused_with_the_known_ones() {
    assert_refused(
        "train --loss volume",
        &["--loss", "'volume'", "gram-symmetric, cosine"],
    );
    assert_refused(
        "train --schedule wsds",
        &["--schedule", "wsd-s, wsd, cosine"],
    );
    assert_refused(
        "train --decay steep",
        &["--decay", "inverse-proportional, linear", "polynomial:P"],
    );
    assert_refused(
        "train --select all",
        &["--select", "softmax, detached, logsumexp"],
    );
    assert_refused("train --noise loud:1", &["--noise", "loud:1", "shuffle:K"]);
    assert_refused("train --path mmx", &["--path", "mmx", "auto, scalar"]);
    for (command, precision) in [
        ("train", "tf32"),
        ("tune", "tf32"),
        ("stream", "tf32"),
        ("search x --queries y", "bf16"),
    ] {
        assert_refused(
            &format!("{command} --path scalar --precision {precision}"),
            &[
                "--precision",
                precision,
                "path scalar",
                "always exact",
                "--path cuda",
            ],
        );
    }
    assert_refused(
        "train --precision bf16",
        &["--precision", "'bf16'", "exact, tf32"],
    );
    assert_refused(
        "search x --queries y --precision tf32",
        &["--precision", "'tf32'", "exact, bf16"],
    );
    assert_refused("paths --path mmx", &["--path", "mmx", "auto, scalar"]);
    assert_refused("tune --loss volume", &["--loss", "'volume'"]);
    assert_refused(
        "stream --schedule cosine",
        &["--schedule", "'cosine'", "wsd-s, wsd, wsd-paused"],
    );
    assert_refused("stream --path mmx", &["--path", "mmx", "auto, scalar"]);
    assert_refused("train --los gram", &["--los", "--help"]);
    assert_refused("dance", &["'dance'"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let wrong = "--tau 0|--tau -1|--tau nan|--tau inf|--tau x|--floor 0|--floor 1.5|--batch 0|--batch -3|--dim 0|\
                 --dim 99999999999999|--hidden -1|--steps 0|--budgets 5,3|--budgets 5,5|--budgets 0,5|--budgets a|\
                 --budgets 5,|--lr 0|--lr inf|--pairs -1|--warmup -1|--warmup-cosine x|--decay-fraction 0|\
                 --decay-fraction 2|--label-smoothing 1|--label-smoothing -0.1|--seed -1|--seed 1.5|--threads x|\
                 --unseen 100|--ngrams 0|--ngrams 9|--ngrams 1,1|--ngrams 1:x|--ngrams 1:-1|--modality x|--modality labels=x|\
                 --decay polynomial|--decay polynomial:0|--decay half-life:x|--decay linear:1|\
                 --modality =x|--modality x=|--noise shuffle:x|--noise blank:2";
    for line in wrong.split('|') {
        let flag = line.split(' ').next().expect("a flag");
        assert_refused(&format!("train {line}"), &[flag]);
    }
    let wrong = "--updates 0|--arrivals 1|--arrivals 9|--releases 0|--decay-updates 0|--decay steep|--memory -1|\
                 --replayed 0|--replayed 90|--half-life 0|--batch 1|--batch 101|--hidden -1|--lr 0|--seeds 0|--seed -1|\
                 --picture=|--picture=/|--picture=nowhere/a.svg";
    for line in wrong.split('|') {
        let flag = line.split([' ', '=']).next().expect("a flag");
        assert_refused(&format!("stream {line}"), &[flag]);
    }
    assert_refused(
        "stream --updates 100 --releases 6",
        &["--updates", "6 releases"],
    );
    for line in ["--tau 0,1", "--seeds 0", "--steps 0", "--held-out-voices 0"] {
        let flag = line.split(' ').next().expect("a flag");
        assert_refused(&format!("tune {line}"), &[flag]);
    }
}

#[test]
fn contradictions_are_refused_with_both_flags() {
    assert_refused("train --data a --modality b=c", &["--data", "--modality"]);
    assert_refused("train --steps 5 --budgets 5,6", &["--steps", "--budgets"]);
    assert_refused("train --test a", &["--test", "--data"]);
    assert_refused("train --unseen 5 --data a", &["--unseen", "--data"]);
    assert_refused("train --modality a=b", &["--modality", "two"]);
    assert_refused("train --tau 1 --tau 2", &["--tau"]);
    for flag in
        "--data --anchor --loss --tau --hidden --budgets --noise --select --seed --out".split(' ')
    {
        let value = match flag {
            "--loss" => "gram",
            "--select" => "softmax",
            "--noise" => "none",
            _ => "5",
        };
        assert_refused(
            &format!("train --resume x {flag} {value}"),
            &["--resume", flag],
        );
    }
}

#[test]
fn only_a_run_folder_can_be_resumed() {
    assert_refused("train --resume nowhere", &["nowhere"]);
    assert_refused("--resume nowhere --json --quiet --threads 2", &["nowhere"]);
}

#[test]
fn flags_without_a_command_are_those_of_train() {
    assert_refused("--loss volume", &["--loss", "gram-symmetric"]);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut command = program();
    let output = command.args(["train", "--anchor", "x", "--loss", "a\u{1b}[2J\nb"]);
    let output = output.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(
        text.chars().filter(|c| c.is_control()).count(),
        1,
        "{text:?}"
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut command = program();
    command.args(["train", "--help"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("stderr");
    stderr.read_to_string(&mut text).expect("text");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(text, "");
}
