//! Searches among items whose bases were built before, part by part: what the search over the whole gallery finds.

use rivergram_core::error::GramError;
use rivergram_core::gram::basis::item_len;
use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::pair::{Bases, BasesMut, Measure, bases_len};
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::{Search, nearest_prepared_workspace_len, nearest_workspace_len};
use rivergram_simd::Level;
use rivergram_tests::cases::{Rows, flat, planes};
use rivergram_tests::random::Random;

const K: usize = 7;
const MEASURES: [Measure; 3] = [Measure::Volume, Measure::Distance, Measure::Cosine];

type Tops = Vec<TopK<f32, K>>;

/// A gallery of planes \[m\]\[items\], with flags in the same places.
#[derive(Clone)]
struct Gallery {
    planes: Vec<Rows>,
    present: Vec<Vec<bool>>,
    d: usize,
}

impl Gallery {
    fn random(random: &mut Random, m: usize, items: usize, d: usize) -> Self {
        let mut gallery = Gallery {
            planes: (0..m).map(|_| random.normals(items, d)).collect(),
            present: vec![vec![true; items]; m],
            d,
        };
        // The same item thrice, an item with half of its vectors, one with none, dependent ones.
        for plane in &mut gallery.planes {
            plane[items - 1] = plane[1].clone();
            plane[items / 2] = plane[1].clone();
        }
        gallery.present[m - 1][2] = false;
        gallery
            .present
            .iter_mut()
            .for_each(|flags| flags[3] = false);
        if m > 1 {
            gallery.planes[1][4] = gallery.planes[0][4].clone();
        }
        gallery
    }

    fn items(&self) -> usize {
        self.planes[0].len()
    }

    /// Items from `start` on.
    fn part(&self, start: usize, len: usize) -> Gallery {
        let end = (start + len).min(self.items());
        Gallery {
            planes: self.planes.iter().map(|p| p[start..end].to_vec()).collect(),
            present: self
                .present
                .iter()
                .map(|p| p[start..end].to_vec())
                .collect(),
            d: self.d,
        }
    }

    /// What the search without preparation finds.
    fn nearest(&self, level: Level, search: Search, anchors: &[f32]) -> Tops {
        let (m, d) = (self.planes.len(), self.d);
        let b1 = anchors.len() / d;
        let mut top = tops(search, b1);
        let mut workspace = vec![f32::NAN; nearest_workspace_len(b1, m, search.tile, d)];
        level
            .nearest(
                search,
                anchors,
                &planes::<f32>(&self.planes),
                Some(&self.present.concat()),
                [b1, m, self.items(), d],
                &mut top,
                &mut workspace,
            )
            .expect("sizes");
        top
    }

    /// Does something with the bases.
    fn with_bases<R>(&self, level: Level, work: impl FnOnce(&Bases<'_, f32>) -> R) -> R {
        let (m, items, d) = (self.planes.len(), self.items(), self.d);
        let vectors = planes::<f32>(&self.planes);
        let flags = self.present.concat();
        let flags: Vec<f32> = flags
            .iter()
            .map(|there| f32::from(u8::from(*there)))
            .collect();
        let mut storage = vec![f32::NAN; bases_len(m, items, d)];
        let mut scratch = vec![f32::NAN; item_len(m, d)];
        let storage = BasesMut::split(&mut storage, m, items, d);
        let built = level.bases(storage, &vectors, &flags, [m, items, d], &mut scratch);
        let (bases, _) = built.expect("sizes");
        work(&bases)
    }

    /// What the search in parts finds.
    fn in_parts(&self, level: Level, search: Search, anchors: &[f32], len: usize) -> Tops {
        let b1 = anchors.len() / self.d;
        let mut top = tops(search, b1);
        for start in (0..self.items()).step_by(len) {
            let part = self.part(start, len);
            let search = Search {
                offset: start,
                ..search
            };
            part.with_bases(level, |bases| {
                let need = nearest_prepared_workspace_len(b1, bases.m, bases.items, bases.d);
                let mut workspace = vec![f32::NAN; need];
                level.nearest_prepared(search, anchors, bases, &mut top, &mut workspace)
            })
            .expect("sizes");
        }
        top
    }
}

fn tops(search: Search, count: usize) -> Tops {
    vec![TopK::new(search.measure.order()); count]
}

#[test]
fn parts_of_any_size_find_what_the_whole_search_finds() {
    let mut random = Random::new(71);
    for (m, items, d) in [(1, 40, 5), (2, 33, 16), (3, 50, 19), (4, 21, 8)] {
        let gallery = Gallery::random(&mut random, m, items, d);
        let mut queries = random.normals(5, d);
        // Near an item's span, and nothing at all.
        queries[1] = gallery.planes[0][1].clone();
        queries[2] = vec![0.0; d];
        let anchors = flat::<f32>(&queries);
        for level in Level::available() {
            for measure in MEASURES {
                let search = Search::by(measure);
                let want = gallery.nearest(level, search, &anchors);
                assert!(want[2].best().is_empty() && want[0].best().len() == K);
                for len in [1, 6, items] {
                    let got = gallery.in_parts(level, search, &anchors, len);
                    for (got, want) in got.iter().zip(&want) {
                        let what = format!("{level} {measure:?} m={m} in parts of {len}");
                        assert_found(&what, measure, got, want);
                    }
                }
            }
        }
    }
}

/// Distances and volumes come from the same formulas in the same order; cosines are summed in another.
fn assert_found(what: &str, measure: Measure, got: &TopK<f32, K>, want: &TopK<f32, K>) {
    let indices = |top: &TopK<f32, K>| top.best().iter().map(|best| best.1).collect::<Vec<_>>();
    assert_eq!(indices(got), indices(want), "{what}");
    for (got, want) in got.best().iter().zip(want.best()) {
        match measure {
            Measure::Cosine => assert!((got.0 - want.0).abs() < 2e-6, "{what}: {got:?} {want:?}"),
            _ => assert_eq!(got.0, want.0, "{what}"),
        }
    }
}

#[test]
fn equal_items_come_by_their_index() {
    let mut random = Random::new(72);
    let gallery = Gallery::random(&mut random, 2, 30, 12);
    let anchors = flat::<f32>(&gallery.planes[0][1..2]);
    for level in Level::available() {
        for len in [4, 7, 30] {
            let top = gallery.in_parts(level, Search::by(Measure::Distance), &anchors, len);
            let best: Vec<usize> = top[0].best().iter().map(|best| best.1).collect();
            // The anchor is a vector of three equal items, which stand in different places of their tiles.
            assert_eq!(best[..3], [1, 15, 29], "{level} {len}");
        }
    }
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_written() {
    let mut random = Random::new(73);
    let gallery = Gallery::random(&mut random, 2, 9, 6);
    let search = Search::by(Measure::Volume);
    let level = Level::detect();
    gallery.with_bases(level, |bases| {
        let need = nearest_prepared_workspace_len(2, 2, 9, 6);
        let mut top = tops(search, 2);
        let mut run = |anchors: &[f32], search, room: usize| {
            let done =
                level.nearest_prepared(search, anchors, bases, &mut top, &mut vec![0.0; room]);
            assert!(top.iter().all(|top| top.best().is_empty()));
            done
        };
        assert_eq!(
            run(&[1.0; 11], search, need),
            Err(GramError::BufferSize { need: 12, have: 11 })
        );
        assert_eq!(
            run(&[1.0; 12], search, need - 1),
            Err(GramError::Workspace {
                need,
                have: need - 1
            })
        );
        let cosine = Search::by(Measure::Cosine);
        assert_eq!(
            run(&[1.0; 12], cosine, need),
            Err(GramError::Order { row: 0 })
        );
        let mut anchors = [1.0; 12];
        anchors[8] = f32::NAN;
        let not_finite = GramError::NotFinite {
            modality: 0,
            row: 1,
        };
        assert_eq!(run(&anchors, search, need), Err(not_finite));
        anchors[6..].fill(0.0);
        let strict = Search {
            zero_rows: ZeroRows::Error,
            ..search
        };
        assert!(run(&anchors, strict, need).is_err());
        let short = Bases {
            volume: &bases.volume[1..],
            ..*bases
        };
        let done =
            level.nearest_prepared(search, &[1.0; 12], &short, &mut top, &mut vec![0.0; need]);
        assert_eq!(done, Err(GramError::BufferSize { need: 9, have: 8 }));
        let done = level.nearest_prepared::<K>(search, &[], bases, &mut [], &mut []);
        assert!(done.is_err());
    });
}

#[test]
fn bases_refuse_what_does_not_fit() {
    let level = Level::detect();
    let mut storage = [0.0; bases_len(1, 2, 2)];
    let mut build = |vectors: &[f32], present: &[f32], room: usize| {
        let storage = BasesMut::split(&mut storage, 1, 2, 2);
        let mut scratch = vec![0.0; room];
        let built = level.bases(storage, vectors, present, [1, 2, 2], &mut scratch);
        built.map(|(bases, degenerate)| (bases.volume.to_vec(), degenerate))
    };
    let room = item_len(1, 2);
    assert_eq!(
        build(&[3.0, 4.0, 0.0, 2.0], &[1.0; 2], room),
        Ok((vec![5.0, 2.0], 0))
    );
    assert!(build(&[3.0, 4.0, 0.0], &[1.0; 2], room).is_err());
    assert!(build(&[3.0, 4.0, 0.0, 2.0], &[1.0], room).is_err());
    assert!(build(&[3.0, 4.0, 0.0, 2.0], &[1.0; 2], room - 1).is_err());
    let at = GramError::NotFinite {
        modality: 1,
        row: 1,
    };
    assert_eq!(build(&[3.0, 4.0, f32::NAN, 2.0], &[1.0; 2], room), Err(at));
    // What is absent may hold anything.
    assert!(build(&[3.0, 4.0, f32::NAN, 2.0], &[1.0, 0.0], room).is_ok());
}
