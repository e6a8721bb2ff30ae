//! Reading safetensors and NPY files, and what is said about bad ones.

use std::path::{Path, PathBuf};

use rivergram::data::{Dataset, Modality, npy, safetensors};
use rivergram::error::Error;
use tempfile::TempDir;

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a writable folder");
    path
}

/// A file with this header text and this payload.
fn tensors(header: &str, payload: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), payload].concat()
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// One line, exit code 2, and all the words.
#[track_caller]
fn assert_says<T: std::fmt::Debug>(result: Result<T, Error>, words: &[&str]) {
    let error = result.expect_err("bad input");
    let line = error.to_string();
    assert_eq!(error.exit_code(), 2, "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    for word in words {
        assert!(line.contains(word), "\"{word}\" is not in: {line}");
    }
}

const IMAGE: &str = r#""image":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#;

#[test]
fn reads_every_float_type_and_labels() {
    let folder = TempDir::new().expect("a folder");
    let header = format!(
        "{{{IMAGE},{},{},{}}}",
        r#""audio":{"dtype":"F16","shape":[2,1],"data_offsets":[16,20]}"#,
        r#""text":{"dtype":"BF16","shape":[2,1],"data_offsets":[20,24]}"#,
        r#""labels":{"dtype":"I32","shape":[2],"data_offsets":[24,32]}"#,
    );
    let mut payload = f32s(&[1.0, -2.5, 0.0, 4.0]);
    payload.extend([0x00, 0x3c, 0x00, 0xc2]); // 1 and -3 in f16
    payload.extend([0x80, 0x3f, 0x40, 0xc0]); // 1 and -3 in bf16
    payload.extend([7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let data = safetensors::read(&write(
        &folder,
        "good.safetensors",
        &tensors(&header, &payload),
    ));
    let data = data.expect("a good file");
    assert_eq!(
        data.names(),
        "audio, image, text",
        "in the order of their names"
    );
    assert_eq!(data.modalities[0].rows, [1.0, -3.0]);
    assert_eq!(data.modalities[1].rows, [1.0, -2.5, 0.0, 4.0]);
    assert_eq!(data.modalities[2].rows, [1.0, -3.0]);
    assert_eq!(data.labels, Some(vec![7, -1]));
    assert_eq!(data.n, 2);
}

#[test]
fn says_what_is_wrong_with_a_safetensors_file() {
    let folder = TempDir::new().expect("a folder");
    let payload = f32s(&[1.0, f32::NAN, 0.0, 4.0, 5.0, 6.0]);
    let long = |name: &str| {
        format!(r#"{{{IMAGE},"{name}":{{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]}}}}"#)
    };
    let entry = |rest: &str| format!("{{\"image\":{{{rest}}}}}");
    let huge = (1_u64 << 60).to_string();
    let cases: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        ("empty", vec![], vec!["0 bytes", "no safetensors"]),
        (
            "text",
            b"text, something".to_vec(),
            vec!["cut off, or no safetensors"],
        ),
        (
            "archive",
            b"PK\x03\x04 something".to_vec(),
            vec!["ZIP", ".npz", "unpack it", "--modality"],
        ),
        (
            "array",
            array("'<f4'", false, "(1, 2)", &payload[..8]),
            vec!["NPY", "--modality NAME=FILE.npy"],
        ),
        (
            "header",
            u64::MAX.to_le_bytes().to_vec(),
            vec!["18446744073709551615", "0 follow"],
        ),
        ("json", tensors("{]", &[]), vec!["header"]),
        ("bytes", tensors("\u{7f}", &[]), vec!["header"]),
        (
            "cut",
            tensors(&format!("{{{IMAGE}}}"), &payload[..10]),
            vec!["cut off", "10 bytes"],
        ),
        (
            "rest",
            tensors(&format!("{{{IMAGE}}}"), &payload),
            vec!["too long", "24 bytes"],
        ),
        (
            "lying shape",
            tensors(
                &entry(r#""dtype":"F32","shape":[3,2],"data_offsets":[0,16]"#),
                &payload[..16],
            ),
            vec!["tensor \"image\"", "shape"],
        ),
        (
            "overflow",
            tensors(
                &entry(&format!(
                    r#""dtype":"F32","shape":[{huge},{huge}],"data_offsets":[0,16]"#
                )),
                &payload[..16],
            ),
            vec!["tensor \"image\"", "shape"],
        ),
        (
            "backwards",
            tensors(
                &entry(r#""dtype":"F32","shape":[2,2],"data_offsets":[16,0]"#),
                &payload[..16],
            ),
            vec!["tensor \"image\"", "offsets"],
        ),
        (
            "type",
            tensors(
                &entry(r#""dtype":"F64","shape":[2,1],"data_offsets":[0,16]"#),
                &payload[..16],
            ),
            vec!["tensor \"image\"", "F64", "F32, F16 or BF16"],
        ),
        (
            "rank",
            tensors(
                &entry(r#""dtype":"F32","shape":[4],"data_offsets":[0,16]"#),
                &payload[..16],
            ),
            vec!["tensor \"image\"", "[4]", "[N, D]"],
        ),
        (
            "no columns",
            tensors(
                &entry(r#""dtype":"F32","shape":[4,0],"data_offsets":[0,0]"#),
                &[],
            ),
            vec!["tensor \"image\"", "length 0"],
        ),
        (
            "no rows",
            tensors(
                &entry(r#""dtype":"F32","shape":[0,4],"data_offsets":[0,0]"#),
                &[],
            ),
            vec!["tensor \"image\"", "0 numbers"],
        ),
        (
            "nan",
            tensors(&long("text"), &payload),
            vec!["tensor \"image\"", "row 0, column 1", "NaN"],
        ),
        (
            "line break",
            tensors(
                &long("te\\nxt").replace("F32\",\"shape\":[1", "I8\",\"shape\":[4"),
                &payload,
            ),
            vec![],
        ),
        (
            "none",
            tensors("{}", &[]),
            vec!["no modality", "at least two"],
        ),
        (
            "one",
            tensors(&format!("{{{IMAGE}}}"), &f32s(&[0.0; 4])),
            vec!["only modality \"image\"", "two"],
        ),
        (
            "counts",
            tensors(&long("text"), &f32s(&[0.0; 6])),
            vec!["\"image\" has 2", "\"text\" has 1"],
        ),
        (
            "label type",
            tensors(&long("labels"), &f32s(&[0.0; 6])),
            vec!["tensor \"labels\"", "[1, 2]", "[N]"],
        ),
        (
            "label type",
            tensors(&long("labels").replace("[1,2]", "[2]"), &f32s(&[0.0; 6])),
            vec!["tensor \"labels\"", "F32", "I64 or I32"],
        ),
    ];
    for (name, bytes, words) in cases {
        let path = write(&folder, &format!("{name}.safetensors"), &bytes);
        let file = path.display().to_string();
        assert_says(
            safetensors::read(&path),
            &[&[file.as_str()], &words[..]].concat(),
        );
    }
    assert_says(
        safetensors::read(Path::new("/nowhere/x.safetensors")),
        &["/nowhere/x.safetensors", "cannot be read"],
    );
}

#[test]
fn every_cut_of_a_good_file_is_an_error() {
    let folder = TempDir::new().expect("a folder");
    let header =
        format!(r#"{{{IMAGE},"text":{{"dtype":"F32","shape":[2,1],"data_offsets":[16,24]}}}}"#);
    let bytes = tensors(&header, &f32s(&[0.0; 6]));
    for length in 0..bytes.len() {
        assert_says(
            safetensors::read(&write(&folder, "cut", &bytes[..length])),
            &["cut"],
        );
    }
    assert!(safetensors::read(&write(&folder, "cut", &bytes)).is_ok());
}

/// An NPY file of version 1 with this description.
fn array(descr: &str, fortran: bool, shape: &str, payload: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), payload].concat()
}

#[test]
fn reads_arrays_of_every_float_type_and_order() {
    let folder = TempDir::new().expect("a folder");
    let read = |bytes: &[u8]| npy::read("x", &write(&folder, "x.npy", bytes)).expect("a good file");
    let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let modality = read(&array("'<f4'", false, "(2, 3)", &f32s(&rows)));
    assert_eq!((modality.dim, modality.len()), (3, 2));
    assert_eq!(modality.rows, rows);
    let columns = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    assert_eq!(
        read(&array("'<f4'", true, "(2, 3)", &f32s(&columns))),
        modality
    );
    let doubles: Vec<u8> = rows
        .iter()
        .flat_map(|&x| f64::from(x).to_le_bytes())
        .collect();
    assert_eq!(read(&array("'<f8'", false, "(2, 3)", &doubles)), modality);
    assert_eq!(
        read(&array("'<f2'", false, "(2, 1)", &[0x00, 0x3c, 0x00, 0xc2])).rows,
        [1.0, -3.0]
    );
    let mut second = array("'<f4'", false, "(2, 3)", &f32s(&rows));
    second[6] = 2;
    second.splice(10..10, [0, 0]);
    assert_eq!(read(&second), modality);
}

#[test]
fn says_what_is_wrong_with_an_array() {
    let folder = TempDir::new().expect("a folder");
    let rows = f32s(&[1.0, f32::INFINITY, 3.0, 4.0]);
    let deep = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let mut bad_version = array("'<f4'", false, "(2, 2)", &rows);
    bad_version[6] = 9;
    let cases: Vec<(Vec<u8>, Vec<&str>)> = vec![
        (vec![], vec!["no NPY"]),
        (b"\x93NUMPX\x01\x00....".to_vec(), vec!["no NPY"]),
        (
            b"PK\x03\x04 something".to_vec(),
            vec!["ZIP", ".npz", "unpack it"],
        ),
        (
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(),
            vec!["cut off"],
        ),
        (bad_version, vec!["cut off"]),
        (
            array("'<f4'", false, "(2, 2)", &rows[..15]),
            vec!["cut off", "15 bytes", "[2, 2]"],
        ),
        (
            array("'<f4'", false, "(2, 3)", &rows),
            vec!["cut off", "[2, 3]"],
        ),
        (array("'<f4'", false, "(4,)", &rows), vec!["[4]", "[N, D]"]),
        (array("'<f4'", false, "(2, 2, 1)", &rows), vec!["[2, 2, 1]"]),
        (array("'<f4'", false, "(2, 0)", &[]), vec!["length 0"]),
        (array("'<f4'", false, "(0, 2)", &[]), vec!["0 numbers"]),
        (array("'<f4'", false, "(-1, 2)", &rows), vec!["negative"]),
        (
            array("'<f4'", false, "(4294967296, 4294967296, 2)", &rows),
            vec!["impossibly large"],
        ),
        (
            array("'<f4'", false, "(99999999999999999999999, 2)", &rows),
            vec!["impossibly large"],
        ),
        (array("'<f4'", true, &deep, &rows), vec!["nest"]),
        (array("'>f4'", false, "(2, 2)", &rows), vec![">f4", "<f4"]),
        (array("'<i4'", false, "(2, 2)", &rows), vec!["<i4", "<f4"]),
        (array("'|O'", false, "(2, 2)", &rows), vec!["|O", "<f4"]),
        (
            array("[('a', '<f4')]", false, "(2, 2)", &rows),
            vec!["'a'", "<f4"],
        ),
        (array("7", false, "(2, 2)", &rows), vec!["header"]),
        (
            array("'<f4'", false, "(2, 2)", &rows),
            vec!["\"voice\"", "row 0, column 1", "inf"],
        ),
    ];
    for (i, (bytes, words)) in cases.into_iter().enumerate() {
        let path = write(&folder, &format!("{i}.npy"), &bytes);
        let file = path.display().to_string();
        assert_says(
            npy::read("voice", &path),
            &[&[file.as_str()], &words[..]].concat(),
        );
    }
    for value in ["image", "=x.npy", "image="] {
        assert_says(npy::parse_flag(value), &["--modality", value, "NAME=FILE"]);
    }
    assert_says(npy::parse_flag("labels=x.npy"), &["--modality", "labels"]);
    assert_eq!(
        npy::parse_flag("a=b=c").expect("fine"),
        ("a".to_owned(), PathBuf::from("b=c"))
    );
}

#[test]
fn arrays_become_a_dataset() {
    let folder = TempDir::new().expect("a folder");
    let two = write(
        &folder,
        "two.npy",
        &array("'<f4'", false, "(2, 1)", &f32s(&[1.0, 2.0])),
    );
    let one = write(
        &folder,
        "one.npy",
        &array("'<f4'", false, "(1, 2)", &f32s(&[1.0, 2.0])),
    );
    let files = |list: &[(&str, &PathBuf)]| -> Vec<(String, PathBuf)> {
        list.iter()
            .map(|&(name, path)| (name.to_owned(), path.clone()))
            .collect()
    };
    let data = npy::read_all(&files(&[("b", &two), ("a", &two)])).expect("a dataset");
    assert_eq!(
        (data.names().as_str(), data.n, data.labels),
        ("b, a", 2, None)
    );
    assert_says(
        npy::read_all(&files(&[("b", &two), ("b", &two)])),
        &["--modality", "\"b\"", "twice"],
    );
    assert_says(
        npy::read_all(&files(&[("b", &two), ("a", &one)])),
        &["\"b\" has 2", "\"a\" has 1"],
    );
    assert_says(npy::read_all(&files(&[("b", &two)])), &["two modalities"]);
}

fn small() -> Dataset {
    let modality = |name: &str, dim: usize| {
        let rows = (0..3 * dim).map(|i| i as f32).collect();
        Modality::new("test", name, dim, rows).expect("good rows")
    };
    let modalities = vec![modality("a", 1), modality("b", 2), modality("c", 1)];
    Dataset::new("test", modalities, Some(vec![5, 6, 5])).expect("a dataset")
}

#[test]
fn selects_and_reorders_by_name() {
    let data = small();
    assert_eq!(data.anchor("b").expect("there"), 1);
    assert_says(data.anchor("x"), &["--anchor", "\"x\"", "a, b, c"]);
    let picked = data.select("--use", &["c", "a"]).expect("there");
    assert_eq!((picked.names().as_str(), picked.n), ("c, a", 3));
    assert_says(data.select("--use", &["c"]), &["--use", "two"]);
    assert_says(
        data.select("--use", &["c", "c"]),
        &["--use", "\"c\"", "twice"],
    );
    assert_eq!(picked.like("test.npy", &picked).expect("same"), picked);
    assert_eq!(data.like("test.npy", &picked).expect("more"), picked);
    assert_says(
        picked.like("test.npy", &data),
        &["test.npy", "\"b\"", "c, a"],
    );
    let mut wide = picked.clone();
    wide.modalities[0] = Modality::new("t", "c", 3, vec![0.0; 9]).expect("good");
    assert_says(
        wide.like("test.npy", &picked),
        &["test.npy", "\"c\"", "3", "1"],
    );
}

#[test]
fn takes_parts() {
    let data = small();
    let part = data.subset(&[2, 0, 9]);
    assert_eq!(part.n, 2);
    assert_eq!(part.labels, Some(vec![5, 5]));
    assert_eq!(part.modalities[1].rows, [4.0, 5.0, 0.0, 1.0]);
    let (six, rest) = data.split_labels(&[6].into());
    assert_eq!((six.n, rest.n), (1, 2));
    assert_eq!(rest.labels, Some(vec![5, 5]));
}

#[test]
fn a_message_is_one_line_whatever_the_name() {
    let error = Error::tensor(Path::new("a\nb"), "c\u{1b}[2J\r", "bad");
    assert_eq!(error.to_string(), "a\\nb: tensor \"c\\u{1b}[2J\\r\": bad");
    let disk = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = Error::io(Path::new("run/latest"), "write it", disk);
    assert_eq!(error.exit_code(), 1);
    assert!(
        error
            .to_string()
            .starts_with("run/latest: cannot write it: "),
        "{error}"
    );
}
