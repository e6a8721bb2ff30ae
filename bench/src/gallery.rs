//! Rows of the search in gallery files, as the program does it: mapped, and in 8 bits scored again by `f32` vectors.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use rivergram::data::rows::{Rows, Table};
use rivergram::engine::Threads;
use rivergram::gallery::{self, Build, Gallery, Kind, Options, Searcher};
use rivergram_core::gram::pair::Measure;
use rivergram_simd::Level;

use crate::random::normals;
use crate::row::{Agreement, Entry, Row};
use crate::timing::Contestant;

const ITEMS: usize = 100_000;
const D: usize = 512;
/// Queries of which the best item has to be the same.
const CHECKED: usize = 100;

const OURS: &str = "our search in f32";

pub(crate) const ROWS: &[Entry] = &[Entry {
    name: "search 100k items k=3 in 8 bits, 1 query",
    make: |setup| {
        let data = Data::new();
        let [bytes, floats] =
            [Kind::Int8, Kind::F32].map(|bases| Rc::new(data.file(setup.level, bases)));
        let share = data.agreement(setup.level, &bytes, &floats);
        Row {
            ours: search(setup.level, "ours", &bytes, &data),
            floor: None,
            peers: vec![search(setup.level, OURS, &floats, &data)],
            agreement: Some(Agreement {
                what: OURS,
                share,
                at_least: 0.99,
            }),
        }
    },
    bars: &[(OURS, 1.0 / 2.5)],
    threads: 1,
    is_long: true,
}];

const BY_VOLUME: Options = Options {
    measure: Measure::Volume,
    top: 10,
    candidates: None,
};

/// Items whose vectors lie near each other, and queries near some of them.
struct Data {
    table: Table,
    queries: Vec<f32>,
}

/// A file that is removed with the row.
struct File {
    path: PathBuf,
    gallery: Gallery,
}

impl Drop for File {
    fn drop(&mut self) {
        // Best effort: it lies in the folder for temporary files.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Data {
    fn new() -> Self {
        // Numbers from one block, begun elsewhere each time, as in the rows of prepared bases.
        let block = normals(4 << 20, 5);
        let near = |what: usize, item: usize| {
            let base = (item * 7919 * 31) % (block.len() - D);
            let noise = (item * 104_729 + what * 1_299_709) % (block.len() - D);
            let pairs = block[base..base + D].iter().zip(&block[noise..noise + D]);
            pairs
                .map(|(x, noise)| x + 2.0 * noise)
                .collect::<Vec<f32>>()
        };
        let rows = |what: usize| (0..ITEMS).flat_map(|item| near(what, item)).collect();
        let modality =
            |what: usize| Rows::new(["image", "sound"][what], D, rows(what)).expect("whole rows");
        Data {
            table: Table {
                modalities: (0..2).map(modality).collect(),
                labels: None,
            },
            queries: (0..CHECKED)
                .flat_map(|query| near(2, query * 997))
                .collect(),
        }
    }

    fn file(&self, level: Level, bases: Kind) -> File {
        let name = format!(
            "rivergram-bench-{}-{}.gallery",
            std::process::id(),
            bases.name()
        );
        let path = std::env::temp_dir().join(name);
        let build = Build {
            bases,
            vectors: Kind::F32,
            level,
        };
        let built = gallery::build(&self.table, &build, &path, &AtomicBool::new(false), |_| ());
        built.expect("room for a gallery");
        let gallery = Gallery::open(Path::new(&path)).expect("what was just written");
        File { path, gallery }
    }

    /// Of how many queries the best item in 8 bits is that in `f32`.
    fn agreement(&self, level: Level, bytes: &File, floats: &File) -> f64 {
        let threads = Threads::new(level, 1).expect("a thread");
        let [bytes, floats] = [bytes, floats].map(|file| {
            let searcher =
                Searcher::new(&file.gallery, &threads, BY_VOLUME).expect("options in range");
            searcher.nearest(&self.queries).expect("finite queries")
        });
        let pairs = bytes.iter().zip(&floats);
        let same = pairs.filter(|(a, b)| a[0].item == b[0].item).count();
        same as f64 / CHECKED as f64
    }
}

fn search(level: Level, name: &str, file: &Rc<File>, data: &Data) -> Contestant {
    let (file, query) = (file.clone(), data.queries[..D].to_vec());
    let threads = Threads::new(level, 1).expect("a thread");
    Contestant::new(name, move || {
        let searcher = Searcher::new(&file.gallery, &threads, BY_VOLUME).expect("options in range");
        black_box(searcher.nearest(black_box(&query)).expect("a finite query"));
    })
}
