//! Rows of the search in a large gallery whose bases were built before.

use std::hint::black_box;
use std::rc::Rc;

use rivergram_core::gram::basis::item_len;
use rivergram_core::gram::pair::{Bases, BasesMut, Measure, bases_len};
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::{Search, nearest_prepared_workspace_len};
use rivergram_simd::Level;

use crate::products::{self, Size};
use crate::random::{normals, unit_rows};
use crate::row::{Entry, FLOOR, Row, Setup};
use crate::timing::Contestant;

const ITEMS: usize = 100_000;
const D: usize = 512;
/// Vectors of an item: k = 3.
const M: usize = 2;
/// Items of which the bases lie together.
const PART: usize = 250;
const TOP: usize = 10;

const FAISS: &str = "faiss, IndexFlatIP over as many bytes";

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        name: "search 100k items k=3, 1 query",
        make: |setup| {
            let gallery = Rc::new(Gallery::new(setup.level));
            Row {
                ours: search(setup.level, &gallery, 1),
                floor: Some(("reading the bases once", vec![reading(&gallery)])),
                peers: faiss(setup, 1),
                agreement: None,
            }
        },
        bars: &[(FAISS, 1.15)],
        threads: 1,
        is_long: true,
    },
    Entry {
        name: "search 100k items k=3, 32 queries",
        make: |setup| {
            let gallery = Rc::new(Gallery::new(setup.level));
            let size = Size {
                m: 32,
                k: D,
                n: M * ITEMS,
            };
            Row {
                ours: search(setup.level, &gallery, 32),
                floor: Some(("its product", products::contestants(&[size]))),
                peers: faiss(setup, 32),
                agreement: None,
            }
        },
        bars: &[(FLOOR, 1.3), (FAISS, 1.0 / 5.0)],
        threads: 1,
        is_long: true,
    },
];

fn faiss(setup: &Setup, queries: usize) -> Vec<Contestant> {
    setup.peer(FAISS, "faiss", &[ITEMS, M * D, queries])
}

/// Items in parts.
struct Gallery(Vec<Part>);

/// A part with its bases.
struct Part {
    vectors: Vec<f32>,
    /// Q, R and the volumes.
    bases: Vec<f32>,
    flags: Vec<f32>,
}

impl Gallery {
    fn new(level: Level) -> Self {
        // Numbers from one block, begun elsewhere each time: a hundred million draws would take longer than the row.
        let block = normals(4 * M * PART * D, 5);
        let parts = (0..ITEMS / PART).map(|number| {
            let start = (number * 7919) % (block.len() - M * PART * D);
            Part::new(level, block[start..start + M * PART * D].to_vec())
        });
        Gallery(parts.collect())
    }
}

impl Part {
    fn new(level: Level, vectors: Vec<f32>) -> Self {
        let mut bases = vec![0.0; bases_len(M, PART, D)];
        let mut scratch = vec![0.0; item_len(M, D)];
        let flags = vec![1.0; M * PART];
        let storage = BasesMut::split(&mut bases, M, PART, D);
        let built = level.bases(storage, &vectors, &flags, [M, PART, D], &mut scratch);
        assert!(built.is_ok());
        Part {
            vectors,
            bases,
            flags,
        }
    }

    fn bases(&self) -> Bases<'_, f32> {
        let (q, rest) = self.bases.split_at(M * PART * D);
        let (r, volume) = rest.split_at(PART * M * M);
        Bases {
            q,
            r,
            volume,
            vectors: &self.vectors,
            present: &self.flags,
            skip: usize::MAX,
            m: M,
            items: PART,
            d: D,
        }
    }
}

fn search(level: Level, gallery: &Rc<Gallery>, queries: usize) -> Contestant {
    let gallery = gallery.clone();
    let anchors = unit_rows(queries, D, 9);
    let by_volume = Search::by(Measure::Volume);
    let mut workspace = vec![0.0; nearest_prepared_workspace_len(queries, M, PART, D)];
    Contestant::new("ours", move || {
        let mut top = vec![TopK::<f32, TOP>::new(by_volume.measure.order()); queries];
        for (number, part) in gallery.0.iter().enumerate() {
            let search = Search {
                offset: number * PART,
                ..by_volume
            };
            let anchors = black_box(&anchors);
            let done =
                level.nearest_prepared(search, anchors, &part.bases(), &mut top, &mut workspace);
            assert_eq!(done, Ok(()));
        }
        assert!(top.iter().all(|top| top.best().len() == TOP));
        black_box(&mut top);
    })
}

/// The least that one query can take: every number of the bases is looked at.
fn reading(gallery: &Rc<Gallery>) -> Contestant {
    let gallery = gallery.clone();
    Contestant::new("plain sum", move || {
        let mut sums = [0.0_f32; 32];
        for part in &gallery.0 {
            let (blocks, _) = part.bases[..M * PART * D].as_chunks::<32>();
            for block in blocks {
                for (sum, x) in sums.iter_mut().zip(block) {
                    *sum += x;
                }
            }
        }
        black_box(sums);
    })
}
