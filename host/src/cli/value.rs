//! What the values of flags may be. The messages complete clap's "invalid value '…' for '--flag …': ".

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser};

/// One of a list of things that have names.
pub(crate) fn named<T>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = PossibleValuesParser::new(all.iter().map(|&kind| name(kind)));
    names.try_map(move |text| {
        let found = all.iter().copied().find(|&kind| name(kind) == text);
        found.ok_or("an unknown name")
    })
}

/// A help text with all names in lines of their own.
pub(crate) fn list<T: Copy, N: Into<String>>(what: &str, all: &[T], name: fn(T) -> N) -> String {
    let names: Vec<String> = all.iter().map(|&kind| name(kind).into()).collect();
    let lines: Vec<String> = names.chunks(5).map(|line| line.join(", ")).collect();
    format!("{what}:\n{}", lines.join(",\n"))
}

/// A number in a range, which is given in words too.
pub(crate) fn number<T: FromStr>(
    fits: fn(&T) -> bool,
    expected: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if fits(&number) => Ok(number),
        _ => Err(format!("{expected} expected")),
    }
}

/// A finite number above 0.
pub(crate) fn positive(text: &str) -> Result<f32, String> {
    number(|x: &f32| *x > 0.0 && x.is_finite(), "a number above 0")(text)
}

/// A finite number, 0 or above.
pub(crate) fn not_negative(text: &str) -> Result<f32, String> {
    number(
        |x: &f32| *x >= 0.0 && x.is_finite(),
        "0 or a number above it",
    )(text)
}

/// A number of steps that makes sense.
pub(crate) fn steps(text: &str) -> Result<u64, String> {
    number(
        |n: &u64| (1..=LONGEST).contains(n),
        "a number of steps from 1 to 2^63",
    )(text)
}

/// A number of steps that may be 0.
pub(crate) fn steps_or_none(text: &str) -> Result<u64, String> {
    number(|n: &u64| *n <= LONGEST, "a number of steps from 0 to 2^63")(text)
}

const LONGEST: u64 = 1 << 63;

/// A size of a layer or a batch.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    number(
        |n: &usize| (1..=LARGEST).contains(n),
        "a number from 1 to 65536",
    )(text)
}

/// A size that may be 0.
pub(crate) fn size_or_none(text: &str) -> Result<usize, String> {
    number(|n: &usize| *n <= LARGEST, "a number from 0 to 65536")(text)
}

const LARGEST: usize = 65536;

/// The path of a file or folder. Only in UTF-8: it stands in configurations and in lines of JSON.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    StringValueParser::new().try_map(|text| match text.is_empty() {
        true => Err("a path expected"),
        false => Ok(PathBuf::from(text)),
    })
}

/// `--budgets`: numbers of steps, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budgets(pub(crate) Vec<u64>);

/// `600,1000,1500`
pub(crate) fn budgets(text: &str) -> Result<Budgets, String> {
    let list: Vec<u64> = text.split(',').map(steps).collect::<Result<_, _>>()?;
    match list.is_sorted_by(|a, b| a < b) {
        true => Ok(Budgets(list)),
        false => Err("ascending numbers of steps expected".to_string()),
    }
}

/// `--ngrams`: orders and their weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ngrams(pub(crate) Vec<(usize, f32)>);

/// `1` or `1:0.8,2:0.2`
pub(crate) fn ngrams(text: &str) -> Result<Ngrams, String> {
    let order = number(
        |n: &usize| *n > 0,
        "N or N:WEIGHT with N from 1 to the length of the shortest strip",
    );
    let mut list: Vec<(usize, f32)> = Vec::new();
    for part in text.split(',') {
        let (n, weight) = match part.split_once(':') {
            Some((n, weight)) => (order(n)?, positive(weight)?),
            None => (order(part)?, 1.0),
        };
        if list.iter().any(|&(other, _)| other == n) {
            return Err(format!("the order {n} stands there twice"));
        }
        list.push((n, weight));
    }
    Ok(Ngrams(list))
}
