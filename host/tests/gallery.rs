//! `rivergram gallery` and `rivergram search` as a process.

mod common;

use std::process::Command;

use common::{Place, floats, labels, lines, npy};
use rivergram::gallery::Gallery;
use serde_json::Value;

fn array(place: &Place, name: &str, dim: usize, numbers: &[f32]) {
    std::fs::write(place.file(name), npy(dim, false, numbers)).expect("written");
}

/// Four items of two vectors in three dimensions; the last is the first again.
const IMAGES: [f32; 12] = [
    1.0, 0.0, 0.0, /**/ 0.0, 1.0, 0.0, /**/ 0.6, 0.0, 0.8, /**/ 1.0, 0.0, 0.0,
];
const SOUNDS: [f32; 12] = [
    0.0, 1.0, 0.0, /**/ 0.0, 0.8, 0.6, /**/ 0.0, 0.0, 0.0, /**/ 0.0, 1.0, 0.0,
];

fn items(place: &Place) {
    let tensors = [
        floats("image", "F32", 3, &IMAGES),
        floats("sound", "F32", 3, &SOUNDS),
        labels("I64", &[10, 11, 12, 10]),
    ];
    place.write("items.safetensors", &tensors);
}

fn found(line: &Value) -> Vec<(u64, f64)> {
    let found = line["found"].as_array().expect("a list");
    let each = found.iter().map(|found| {
        let item = found["item"].as_u64().expect("an index");
        (item, found["score"].as_f64().expect("a number"))
    });
    each.collect()
}

#[test]
fn own_data_are_searched_in_every_kind_of_file() {
    let place = Place::new();
    items(&place);
    let queries = [
        0.0, 0.6, 0.8, /**/ 0.0, 0.0, 0.0, /**/ 1.0, 0.1, 0.0,
    ];
    array(&place, "queries.npy", 3, &queries);
    for kind in ["f32", "f16", "bf16", "int8", "int8 --vectors bf16"] {
        let line = format!("gallery --data items.safetensors --out items.gallery --bases {kind}");
        let text = place.stdout(&line);
        assert!(
            text.contains("4 items of image, sound in 3 dimensions"),
            "{text}"
        );
        let line = "search items.gallery --queries queries.npy --by distance --format jsonl";
        let lines = lines(&place.stdout(line));
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["query"], 0);
        let first = found(&lines[0]);
        // To the plane of the second item, to the line of the third, to the planes of the equal ones.
        let indices: Vec<u64> = first.iter().map(|found| found.0).collect();
        assert_eq!(indices, [1, 2, 0, 3], "{kind}");
        assert!(first[0].1.abs() < 1e-3, "{kind}: {first:?}");
        assert!((first[1].1 - 0.768_374_9).abs() < 4e-3, "{kind}: {first:?}");
        assert!((first[2].1 - 0.8).abs() < 4e-3 && first[2].1 == first[3].1);
        assert!(found(&lines[1]).is_empty(), "zeros are no query");
        assert_eq!(lines[2]["found"][0]["label"], 10);
    }
}

#[test]
fn tables_tell_ranks_labels_and_hits() {
    let place = Place::new();
    items(&place);
    // What is there and is no gallery stays.
    let before = std::fs::read(place.file("items.safetensors")).expect("the data");
    let line = "gallery --data items.safetensors --out items.safetensors";
    place.refused(line, &["--out", "items.safetensors", "no gallery"]);
    place.refused(
        "gallery --data items.safetensors --out .",
        &["--out", "a folder"],
    );
    assert_eq!(
        std::fs::read(place.file("items.safetensors")).expect("the data"),
        before
    );
    place.stdout("gallery --data items.safetensors --items image --out items.gallery");
    let texts = [
        0.9, 0.1, 0.0, /**/ 0.0, 1.0, 0.1, /**/ 0.0, 0.0, 0.0,
    ];
    let tensors = [
        floats("text", "F32", 3, &texts),
        floats("other", "F32", 3, &texts),
        labels("I64", &[10, 12, 5]),
    ];
    place.write("texts.safetensors", &tensors);
    let line = "search items.gallery --queries texts.safetensors --modality text --by cosines --top 2 --quiet";
    let output = place.run(line);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["query", "rank", "item", "cosines", "label"]);
    assert_eq!(lines[1], ["0", "1", "0", "0.993884", "10"]);
    assert_eq!(lines[2], ["0", "2", "3", "0.993884", "10"]);
    assert_eq!(lines[3][..3], ["1", "1", "1"]);
    assert_eq!(lines[5], ["2", "–", "–", "–"]);
    let last = "the first item has the label of its query: 33.3% of 3 queries";
    assert!(text.ends_with(&format!("{last}\n")), "{text}");
    let text = place.stdout(&format!(
        "{line} --first 1 --threads 2 --unchecked --path scalar"
    ));
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn arrays_of_both_orders_and_no_query_at_all() {
    let place = Place::new();
    array(&place, "image.npy", 3, &IMAGES);
    // The same numbers, column by column.
    let columns: Vec<f32> = (0..3)
        .flat_map(|d| (0..4).map(move |j| SOUNDS[j * 3 + d]))
        .collect();
    std::fs::write(place.file("sound.npy"), npy(3, true, &columns)).expect("written");
    place.stdout("gallery --modality image=image.npy --modality sound=sound.npy --out a.gallery");
    items(&place);
    place.stdout("gallery --data items.safetensors --out b.gallery");
    let read = |name: &str| {
        let gallery = Gallery::open(&place.file(name)).expect("a gallery");
        let stored = gallery.stored();
        (
            stored.volume.to_vec(),
            stored.cosines.to_vec(),
            stored.present.to_vec(),
        )
    };
    assert_eq!(read("a.gallery"), read("b.gallery"));
    array(&place, "none.npy", 3, &[]);
    let text = place.stdout("search a.gallery --queries none.npy --format jsonl");
    assert_eq!(text, "");
    place.stdout("search a.gallery --queries none.npy");
}

#[test]
fn what_is_built_is_told_as_json_with_warnings_beside_it() {
    let place = Place::new();
    items(&place);
    let output =
        place.run("gallery --data items.safetensors --out items.gallery --bases int8 --json");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&value["items"], &value["dimensions"]),
        (&4.into(), &3.into())
    );
    assert_eq!(
        (&value["bases"], &value["vectors"]),
        (&"int8".into(), &"f32".into())
    );
    assert_eq!((&value["absent"], &value["empty"]), (&1.into(), &0.into()));
    let length = std::fs::metadata(place.file("items.gallery"))
        .expect("a file")
        .len();
    assert_eq!(value["bytes"], length);
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("warning: 1 vectors are zeros"), "{text}");
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let place = Place::new();
    items(&place);
    place.stdout("gallery --data items.safetensors --out items.gallery");
    array(&place, "wide.npy", 4, &[1.0; 8]);
    array(&place, "odd.npy", 3, &[1.0, 1.0, 1.0, 1.0, f32::NAN, 1.0]);
    std::fs::write(place.file("empty.npy"), "").expect("a file");
    std::fs::write(place.file("text.gallery"), "no gallery").expect("a file");
    let search = "search items.gallery --queries";
    for (line, parts) in [
        (
            format!("{search} wide.npy"),
            &["wide.npy", "rows of 4", "have 3"][..],
        ),
        (
            format!("{search} odd.npy --quiet"),
            &["odd.npy", "row 1, column 1 is NaN"],
        ),
        (format!("{search} empty.npy"), &["empty.npy", "0 bytes"]),
        (format!("{search} nowhere.npy"), &["nowhere.npy"]),
        (
            format!("{search} wide.txt"),
            &["wide.txt", ".npy or .safetensors"],
        ),
        (
            format!("{search} items.safetensors"),
            &["--modality", "image, sound"],
        ),
        (
            format!("{search} items.safetensors --modality text"),
            &["no modality \"text\""],
        ),
        (format!("{search} wide.npy --top 0"), &["--top"]),
        (format!("{search} wide.npy --top 2000"), &["--top"]),
        (
            format!("{search} wide.npy --by size"),
            &["--by", "volume, distance, cosines"],
        ),
        (
            format!("{search} wide.npy --run x"),
            &["--queries", "--run"],
        ),
        (format!("{search} wide.npy --path mmx"), &["--path"]),
        ("search items.gallery".into(), &["--queries"]),
        (
            "search text.gallery --queries wide.npy".into(),
            &["text.gallery", "no safetensors"],
        ),
        (
            "search items.safetensors --queries wide.npy".into(),
            &["no gallery"],
        ),
        ("search nowhere --queries wide.npy".into(), &["nowhere"]),
        ("gallery --out x".into(), &["--data"]),
        (
            "gallery --data items.safetensors --modality a=b.npy --out x".into(),
            &["--data"],
        ),
        (
            "gallery --data items.safetensors --items text --out x".into(),
            &["--items", "\"text\""],
        ),
        (
            "gallery --data items.safetensors --bases f8 --out x".into(),
            &["--bases", "int8"],
        ),
        (
            "gallery --data items.safetensors --vectors int8 --out x".into(),
            &["--vectors"],
        ),
        (
            "gallery --modality a=odd.npy --out x".into(),
            &["odd.npy", "row 1"],
        ),
        (
            "gallery --modality a=wide.npy --modality b=odd.npy --out x".into(),
            &["[2, 4]", "[2, 3]"],
        ),
        ("gallery --run nowhere --out x".into(), &["nowhere"]),
        (
            "gallery --data items.safetensors --items image,image --out x".into(),
            &["twice"],
        ),
    ] {
        place.refused(&line, parts);
    }
    let output = place.run("gallery --data items.safetensors --out nowhere/x");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_damaged_gallery_is_named_with_its_tensor() {
    let place = Place::new();
    items(&place);
    array(&place, "query.npy", 3, &[1.0, 0.0, 0.0]);
    place.stdout("gallery --data items.safetensors --out items.gallery");
    let file = place.file("items.gallery");
    let mut bytes = std::fs::read(&file).expect("the file");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    bytes[8 + length + 5] ^= 1;
    std::fs::write(&file, bytes).expect("a file");
    let line = "search items.gallery --queries query.npy";
    place.refused(line, &["items.gallery", "tensor \"vectors\"", "damaged"]);
    // Who has compared the checksums before need not do it again.
    place.stdout(&format!("{line} --unchecked"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_build_leaves_no_file() {
    let place = Place::new();
    let (n, d) = (60_000, 64);
    let numbers: Vec<f32> = (0..n * d)
        .map(|i| ((i * 7919) % 8191) as f32 / 4096.0 - 1.0)
        .collect();
    array(&place, "a.npy", d, &numbers);
    let line = "gallery --modality a=a.npy --modality b=a.npy --modality c=a.npy --out a.gallery --path scalar";
    let mut child = place.command(line).spawn().expect("the program starts");
    let unfinished = place.file("a.gallery.tmp");
    while !unfinished.exists() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    let sent = sent.expect("kill starts");
    let status = child.wait().expect("it ends");
    if sent.success() && status.code() == Some(130) {
        assert!(!place.file("a.gallery").exists());
    } else {
        // It was faster than the signal.
        assert!(status.success());
        Gallery::open(&place.file("a.gallery")).expect("a whole file");
    }
    assert!(!unfinished.exists());
}

#[cfg(feature = "demo-data")]
#[test]
fn what_a_run_has_learned_is_searched() {
    let place = Place::new();
    let options = "--loss gram-symmetric --hidden 0 --budgets 30 --warmup-cosine 20 --quiet";
    place.stdout(&format!("train {options} --out run"));
    let text = place.stdout("gallery --run run --out numbers.gallery --bases int8");
    assert!(
        text.contains("items of image, audio in 64 dimensions"),
        "{text}"
    );
    let text = place.stdout("search numbers.gallery --run run --first 300 --by cosines --top 3");
    let last = text.lines().last().expect("a line");
    let share = last.strip_prefix("the first item has the label of its query: ");
    let share = share
        .and_then(|rest| rest.split_once('%'))
        .expect("a share")
        .0;
    // A hundredth by chance.
    assert!(share.parse::<f64>().expect("a number") > 20.0, "{last}");
    place.refused(
        "search numbers.gallery --run run --modality video",
        &["no modality \"video\"", "text, image, audio"],
    );
}

/// Where there is no GPU, that is said once and what is found is the same.
#[test]
fn a_search_without_its_gpu_is_one_of_the_cpu() {
    let place = Place::new();
    items(&place);
    place.stdout("gallery --data items.safetensors --bases bf16 --out items.gallery");
    array(&place, "queries.npy", 3, &[0.9, 0.1, 0.3, 0.2, 0.8, 0.1]);
    let search = "search items.gallery --queries queries.npy --format jsonl";
    let want = place.stdout(search);
    for precision in ["", " --precision bf16"] {
        let mut command = place.command(&format!("{search} --path cuda{precision}"));
        // Of a driver, if there is one, no device.
        let output = command.env("CUDA_VISIBLE_DEVICES", "").output();
        let output = output.expect("the program starts");
        assert_eq!(String::from_utf8(output.stdout).expect("text"), want);
        let text = String::from_utf8(output.stderr).expect("text");
        let warnings: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("warning"))
            .collect();
        assert_eq!(warnings.len(), 1, "{text}");
        assert!(warnings[0].starts_with("warning: cuda: "), "{text}");
        assert!(warnings[0].contains("the work is done on path"), "{text}");
    }
}
