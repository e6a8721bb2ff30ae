//! Whatever comes in, an error or a result comes out: sizes that do not fit, settings out of range, numbers
//! that are none, bytes at random. Overflow checks are on in this profile, so that a sum that wraps panics too.

use rivergram_core::eisl::{self, Batch, Config, Input, Padding, Parts, Select, Shape};
use rivergram_core::encode::{OVERHEAD, crc32};
use rivergram_core::gram::contrastive::{
    self, Anchor, Gathered, GramLoss, Rectangle, Shard, Term, ZeroRows,
};
use rivergram_core::gram::pair::{Measure, volume_matrix_workspace_len};
use rivergram_core::gram::tuple;
use rivergram_core::head::Head;
use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::{Setup, Trainer};
use rivergram_simd::Level;
use rivergram_tests::random::Random;
use rivergram_tests::train::{Buffers, Steps};

/// A source of inputs that are mostly right.
struct Odd {
    random: Random,
    levels: Vec<Level>,
}

/// How many attempts gave a result, of how many: neither may be all, or the test looks at one side only.
#[derive(Default)]
struct Tally {
    good: usize,
    all: usize,
}

impl Tally {
    fn count<R, E>(&mut self, result: Result<R, E>) {
        self.good += usize::from(result.is_ok());
        self.all += 1;
    }

    #[track_caller]
    fn assert_mixed(&self) {
        let Tally { good, all } = *self;
        let both = all / 20 < good && good < all - all / 20;
        assert!(both, "{good} of {all} attempts gave a result");
    }
}

impl Odd {
    fn new(seed: u64) -> Self {
        Odd {
            random: Random::new(seed),
            levels: Level::available().collect(),
        }
    }

    /// Once in so many.
    fn once_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len())]
    }

    fn level(&mut self) -> Level {
        let levels = self.levels.clone();
        self.pick(&levels)
    }

    /// Small, and rarely enormous.
    fn size(&mut self, below: usize) -> usize {
        match self.random.below(60) {
            0 => usize::MAX,
            1 => usize::MAX / 2 + 1,
            2 => 1 << 32,
            _ => self.random.below(below),
        }
    }

    /// About the length that is asked for, and never enormous.
    fn length(&mut self, right: usize) -> usize {
        let right = right.min(1 << 12);
        match self.random.below(40) {
            0 => right.saturating_sub(1),
            1 => right + 1,
            2 => self.random.below(50),
            _ => right,
        }
    }

    /// A number that a setting may be given.
    fn setting<T: Real>(&mut self, usual: f64) -> T {
        if !self.once_in(12) {
            return T::constant(usual);
        }
        let odd = [
            T::ZERO,
            -T::ONE,
            T::ONE,
            T::MAX,
            T::INFINITY,
            T::MIN_POSITIVE,
            T::constant(f64::NAN),
            T::constant(0.07),
        ];
        self.pick(&odd)
    }

    /// Numbers, mostly normal; in some buffers a few that are odd.
    fn numbers<T: Real>(&mut self, length: usize) -> Vec<T> {
        let odd = [
            T::ZERO,
            T::MAX,
            -T::MAX,
            T::INFINITY,
            -T::INFINITY,
            T::MIN_POSITIVE,
            T::constant(f64::NAN),
            T::constant(1e-42),
        ];
        let has_odd = self.once_in(4);
        let mut numbers = Vec::new();
        for _ in 0..length {
            let x = if has_odd && self.once_in(20) {
                self.pick(&odd)
            } else {
                T::constant(self.random.normal())
            };
            numbers.push(x);
        }
        numbers
    }

    fn flags(&mut self, length: usize) -> Option<Vec<bool>> {
        if self.once_in(2) {
            return None;
        }
        let length = self.length(length);
        Some((0..length).map(|_| !self.once_in(5)).collect())
    }

    fn gram_loss<T: Real>(&mut self) -> GramLoss<T> {
        let anchor = match self.random.below(4) {
            0 => Anchor::Each,
            _ => Anchor::One(self.size(4)),
        };
        let terms = [Term::Volume(anchor), Term::Cosine(anchor)];
        GramLoss {
            term: self.pick(&terms),
            pairs: self.setting(0.3),
            temperature: self.setting(0.07),
            label_smoothing: self.setting(0.1),
            normalise: self.once_in(2),
            zero_rows: self.pick(&[ZeroRows::Missing, ZeroRows::Zero, ZeroRows::Error]),
        }
    }

    fn orders<T: Real>(&mut self) -> Vec<(usize, T)> {
        let count = self.random.below(4);
        let order = |odd: &mut Self| match odd.random.below(30) {
            0 => 0,
            1 => usize::MAX,
            _ => odd.random.range(1, 6),
        };
        (0..count)
            .map(|_| (order(self), self.setting(0.5)))
            .collect()
    }

    fn config<'a, T: Real>(&mut self, orders: &'a [(usize, T)]) -> Config<'a, T> {
        Config {
            orders,
            select: self.pick(&[
                Select::Softmax,
                Select::Detached,
                Select::LogSumExp,
                Select::Mean,
                Select::Max,
            ]),
            temperature: self.setting(1.0),
            clamp: if self.once_in(2) {
                Some(self.setting(-20.0))
            } else {
                None
            },
            padding: self.pick(&[Padding::Mask, Padding::Zero, Padding::None]),
            pad_id: self.pick(&[None, Some(1), Some(-7), Some(i32::MAX)]),
            input: self.pick(&[Input::Logits, Input::LogProbs]),
            ngram_factor: self.setting(1.0),
            ce_factor: self.setting(0.5),
            label_smoothing: self.setting(0.1),
            ..Config::new(orders)
        }
    }

    /// A shape and the labels, lengths and noise for it. A batch without targets is not enormous: its rows
    /// are counted one by one.
    fn strings(&mut self, orders: &[(usize, f32)]) -> Strings {
        let (targets, positions) = (self.size(6), self.size(6));
        let batch = if targets == 0 {
            self.random.below(4)
        } else {
            self.size(4)
        };
        let shape = Shape {
            batch,
            positions,
            targets,
            vocabulary: self.size(7),
        };
        let label = |odd: &mut Self| match odd.random.below(60) {
            0 => odd.pick(&[-1, i32::MAX, i32::MIN]),
            1..10 => -100,
            _ => odd.random.below(shape.vocabulary.clamp(1, 100)) as i32,
        };
        let count = self.length(batch.saturating_mul(targets));
        let labels = (0..count).map(|_| label(self)).collect();
        let mut lens = |most: usize| {
            if self.once_in(2) {
                return None;
            }
            let count = self.length(batch);
            let len = |odd: &mut Self| match odd.random.below(40) {
                0 => usize::MAX,
                _ => odd.random.below(most.clamp(1, 100)),
            };
            Some((0..count).map(|_| len(self)).collect())
        };
        let (target_lens, output_lens) = (lens(targets), lens(positions));
        let noise = self.once_in(3).then(|| {
            let length = self.length(eisl::noise_len(shape, orders));
            self.numbers(length)
        });
        Strings {
            shape,
            labels,
            target_lens,
            output_lens,
            noise,
        }
    }

    fn head(&mut self) -> Head {
        Head {
            input: self.random.range(1, 5),
            hidden: self.random.below(4),
            output: 3,
            normalise: !self.once_in(3),
        }
    }

    fn optimizer<T: Real>(&mut self) -> Optimizer<T> {
        match self.random.below(3) {
            0 => Optimizer::Sgd {
                momentum: self.setting(0.9),
                weight_decay: self.setting(0.01),
            },
            1 => Optimizer::AdamW {
                beta1: self.setting(0.9),
                beta2: self.setting(0.999),
                epsilon: self.setting(1e-8),
                weight_decay: self.setting(0.01),
            },
            _ => Optimizer::Lion {
                beta1: self.setting(0.9),
                beta2: self.setting(0.99),
                weight_decay: self.setting(0.01),
            },
        }
    }
}

/// What a sequence loss is given besides its input.
struct Strings {
    shape: Shape,
    labels: Vec<i32>,
    target_lens: Option<Vec<usize>>,
    output_lens: Option<Vec<usize>>,
    noise: Option<Vec<f32>>,
}

impl Strings {
    fn batch(&self) -> Batch<'_, f32> {
        Batch {
            target_lens: self.target_lens.as_deref(),
            output_lens: self.output_lens.as_deref(),
            noise: self.noise.as_deref(),
            ..Batch::new(self.shape, &self.labels)
        }
    }

    fn input_len(&self) -> usize {
        let Shape {
            batch,
            positions,
            vocabulary,
            ..
        } = self.shape;
        batch.saturating_mul(positions).saturating_mul(vocabulary)
    }
}

#[test]
fn contrastive_losses_never_panic() {
    let (mut odd, mut tally) = (Odd::new(1), Tally::default());
    for _ in 0..3000 {
        let (k, rows, d) = (odd.size(10), odd.size(7), odd.size(10));
        let count = k.saturating_mul(rows).saturating_mul(d);
        let [vectors, gradient] = [odd.length(count), odd.length(count)];
        let vectors = odd.numbers(vectors);
        let present = odd.flags(k.saturating_mul(rows));
        let batch = contrastive::Batch {
            vectors: &vectors,
            present: present.as_deref(),
            k,
            rows,
            d,
        };
        let workspace = odd.length(contrastive::workspace_len(k, rows, d));
        let (config, level) = (odd.gram_loss(), odd.level());
        tally.count(level.gram_loss(
            &config,
            &batch,
            &mut vec![f32::NAN; gradient],
            &mut vec![f32::NAN; workspace],
        ));
    }
    tally.assert_mixed();
}

#[test]
fn losses_of_shards_never_panic() {
    let (mut odd, mut tally) = (Odd::new(21), Tally::default());
    for _ in 0..3000 {
        let (k, rows, all, d) = (odd.size(6), odd.size(5), odd.size(7), odd.size(10));
        let offset = odd.size(all.saturating_sub(rows).saturating_add(1));
        let gathered = odd.pick(&[Gathered::Full, Gathered::Detached]);
        let shard = Shard {
            offset,
            rows,
            gathered,
        };
        let flags = k.saturating_mul(all);
        let lengths = [flags.saturating_mul(d), shard.gradient_len(k, all, d)];
        let [vectors, gradient] = lengths.map(|len| odd.length(len));
        let vectors = odd.numbers(vectors);
        let present = odd.flags(flags);
        let batch = contrastive::Batch {
            vectors: &vectors,
            present: present.as_deref(),
            k,
            rows: all,
            d,
        };
        let workspace = odd.length(contrastive::shard_workspace_len(k, rows, all, d));
        let (config, level) = (odd.gram_loss(), odd.level());
        tally.count(level.gram_shard_loss(
            &config,
            &batch,
            shard,
            &mut vec![f32::NAN; gradient],
            &mut vec![f32::NAN; workspace],
        ));
    }
    tally.assert_mixed();
}

#[test]
fn losses_of_rectangles_never_panic() {
    let (mut odd, mut tally) = (Odd::new(22), Tally::default());
    for _ in 0..6000 {
        let (m, rows, all, d) = (odd.size(6), odd.size(5), odd.size(7), odd.size(10));
        let offset = odd.size(all.saturating_sub(rows).saturating_add(1));
        let flags = m.saturating_mul(all);
        let of_anchors = rows.saturating_mul(d);
        let of_items = flags.saturating_mul(d);
        let lengths = [of_anchors, of_items].map(|len| odd.length(len));
        let [anchors, items] = lengths.map(|len| odd.numbers(len));
        let (anchors_present, present) = (odd.flags(rows), odd.flags(flags));
        let rectangle = Rectangle {
            anchors: &anchors,
            anchors_present: anchors_present.as_deref(),
            rows,
            items: contrastive::Batch {
                vectors: &items,
                present: present.as_deref(),
                k: m,
                rows: all,
                d,
            },
            offset,
        };
        let k = m.saturating_add(1);
        let workspace = odd.length(contrastive::rectangle_workspace_len(k, rows, all, d));
        let gradients = [of_anchors, of_items].map(|len| {
            let len = if odd.once_in(4) { 0 } else { len };
            vec![f32::NAN; odd.length(len)]
        });
        let [mut of_anchors, mut of_items] = gradients;
        let mut config = odd.gram_loss();
        if !odd.once_in(4) {
            let anchor = Anchor::One(0);
            config.term = odd.pick(&[Term::Volume(anchor), Term::Cosine(anchor)]);
            config.pairs = 0.0;
        }
        tally.count(odd.level().gram_rectangle_loss(
            &config,
            &rectangle,
            [&mut of_anchors, &mut of_items],
            &mut vec![f32::NAN; workspace],
        ));
    }
    tally.assert_mixed();
}

#[test]
fn volume_matrices_never_panic() {
    let (mut odd, mut tally) = (Odd::new(2), Tally::default());
    for _ in 0..3000 {
        let sizes = [odd.size(6), odd.size(6), odd.size(6), odd.size(9)];
        let [b1, m, b2, d] = sizes;
        let anchors = odd.length(b1.saturating_mul(d));
        let items = odd.length(m.saturating_mul(b2).saturating_mul(d));
        let (anchors, items) = (odd.numbers(anchors), odd.numbers(items));
        let present = odd.flags(m.saturating_mul(b2));
        let out = odd.length(b1.saturating_mul(b2));
        let workspace = odd.length(volume_matrix_workspace_len(b1, m, b2, d));
        let measure = odd.pick(&[Measure::Volume, Measure::Distance]);
        tally.count(odd.level().volume_matrix(
            measure,
            &anchors,
            &items,
            present.as_deref(),
            sizes,
            &mut vec![f32::NAN; out],
            &mut vec![f32::NAN; workspace],
        ));
    }
    tally.assert_mixed();
}

fn tuples<T: Real>(seed: u64) {
    let (mut odd, mut tally) = (Odd::new(seed), Tally::default());
    let isa = One::<T>::new();
    for _ in 0..3000 {
        let (k, d) = (odd.size(11), odd.size(14));
        let count = odd.length(k.saturating_mul(d));
        let x: Vec<T> = odd.numbers(count);
        let mut gradient = vec![T::ONE; odd.length(count)];
        let mut gram = vec![T::ONE; odd.length(k.saturating_mul(k))];
        let mut work = vec![T::ONE; odd.length(tuple::workspace_len(k, d))];
        tally.count(tuple::volume_on(isa, &x, k, d, &mut work));
        tally.count(tuple::volume_gradient_on(
            isa,
            &x,
            k,
            d,
            &mut gradient,
            &mut work,
        ));
        tally.count(tuple::gram_matrix_on(isa, &x, k, d, &mut gram));
        tally.count(tuple::determinant_on(isa, &x, k, d, &mut work));
        tally.count(tuple::log_volume_on(isa, &x, k, d, &mut work));
    }
    tally.assert_mixed();
}

#[test]
fn volumes_of_tuples_never_panic() {
    tuples::<f32>(3);
    tuples::<f64>(4);
}

#[test]
fn sequence_losses_never_panic() {
    let (mut odd, mut tally) = (Odd::new(5), Tally::default());
    for _ in 0..6000 {
        let orders = odd.orders();
        let (config, strings) = (odd.config(&orders), odd.strings(&orders));
        let input = odd.length(strings.input_len());
        let mut x = odd.numbers(input);
        let workspace = odd.length(eisl::workspace_len(strings.shape, orders.len()));
        let rows = strings.shape.batch.saturating_mul(orders.len());
        let mut per_order = vec![f32::NAN; odd.length(orders.len())];
        let mut per_row = vec![f32::NAN; odd.length(rows)];
        let parts = Parts {
            per_order: odd.once_in(2).then_some(&mut per_order),
            per_row: odd.once_in(2).then_some(&mut per_row),
            ..Parts::none()
        };
        tally.count(odd.level().eisl_loss(
            &config,
            &strings.batch(),
            &mut x,
            parts,
            &mut vec![f32::NAN; workspace],
        ));
    }
    tally.assert_mixed();
}

#[test]
fn alignment_never_panics() {
    let (mut odd, mut tally) = (Odd::new(6), Tally::default());
    let plan = Plan::new(Settings::constant(0.1_f32), &[]).expect("a plan");
    for seed in 0..3000 {
        let mut heads: Vec<Head> = (0..odd.random.below(10)).map(|_| odd.head()).collect();
        if odd.once_in(20)
            && let Some(head) = heads.first_mut()
        {
            let size = odd.size(6);
            *odd.pick_field(head) = size;
        }
        let setup = Setup {
            heads: &heads,
            optimizer: odd.optimizer(),
            clip: odd.once_in(2).then(|| odd.setting(1.0)),
        };
        let rows = odd.size(6);
        // Enormous heads have no buffers.
        if setup.parameters_len() > 1 << 16 {
            continue;
        }
        let workspace = odd.length(setup.align_workspace_len(rows));
        let mut buffers = Buffers::new(&setup, workspace, seed);
        if odd.once_in(10) {
            buffers.parameters = odd.numbers(buffers.parameters.len());
        }
        let mut trainer = match Trainer::new(setup, buffers.storage(), State::new(&plan)) {
            Ok(trainer) => trainer,
            Err(error) => {
                tally.count(Err::<(), _>(error));
                continue;
            }
        };
        let mut inputs: Vec<Vec<f32>> = Vec::new();
        for head in &heads {
            let length = odd.length(rows.saturating_mul(head.input));
            inputs.push(odd.numbers(length));
        }
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let present = odd.flags(heads.len().saturating_mul(rows));
        let (loss, level) = (odd.gram_loss(), odd.level());
        for _ in 0..2 {
            let present = present.as_deref();
            tally.count(f32::align(
                level,
                &mut trainer,
                &loss,
                &inputs,
                present,
                rows,
            ));
        }
    }
    tally.assert_mixed();
}

impl Odd {
    fn pick_field<'a>(&mut self, head: &'a mut Head) -> &'a mut usize {
        match self.random.below(3) {
            0 => &mut head.input,
            1 => &mut head.hidden,
            _ => &mut head.output,
        }
    }
}

#[test]
fn transcription_never_panics() {
    let (mut odd, mut tally) = (Odd::new(7), Tally::default());
    let plan = Plan::new(Settings::constant(0.1_f32), &[]).expect("a plan");
    for seed in 0..6000 {
        let orders = odd.orders();
        let (config, strings) = (odd.config(&orders), odd.strings(&orders));
        let mut head = odd.head();
        head.normalise = odd.once_in(20);
        if !odd.once_in(20) {
            head.output = strings.shape.vocabulary.min(100);
        }
        let heads = vec![head; if odd.once_in(20) { 2 } else { 1 }];
        let setup = Setup {
            heads: &heads,
            optimizer: odd.optimizer(),
            clip: odd.once_in(2).then(|| odd.setting(1.0)),
        };
        let workspace = setup.transcribe_workspace_len(&config, &Batch::new(strings.shape, &[]));
        let mut buffers = Buffers::new(&setup, odd.length(workspace), seed);
        let mut trainer = match Trainer::new(setup, buffers.storage(), State::new(&plan)) {
            Ok(trainer) => trainer,
            Err(error) => {
                tally.count(Err::<(), _>(error));
                continue;
            }
        };
        let Shape {
            batch, positions, ..
        } = strings.shape;
        let rows = batch.saturating_mul(positions);
        let length = odd.length(rows.saturating_mul(head.input));
        let (inputs, level) = (odd.numbers(length), odd.level());
        for _ in 0..2 {
            let batch = strings.batch();
            tally.count(f32::transcribe(
                level,
                &mut trainer,
                &config,
                &batch,
                &inputs,
            ));
        }
    }
    tally.assert_mixed();
}

/// Makes the checksum of the frame at the start right again.
fn mend(frame: &mut [u8]) {
    let Some(body) = frame.len().checked_sub(4) else {
        return;
    };
    let checksum = crc32(&frame[..body]);
    frame[body..].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn loading_never_panics() {
    let (mut odd, mut tally) = (Odd::new(8), Tally::default());
    let settings = Settings {
        warmup: 2,
        ..Settings::wsd_s(0.1_f32, 0.01)
    };
    let budgets = [10, 30];
    let plan = Plan::new(settings, &budgets).expect("a plan");
    let heads = vec![
        Head {
            input: 2,
            hidden: 0,
            output: 3,
            normalise: true,
        };
        2
    ];
    let setup = Setup {
        heads: &heads,
        optimizer: Optimizer::adamw(),
        clip: None,
    };
    let mut buffers = Buffers::new(&setup, setup.align_workspace_len(3), 1);
    let trainer = Trainer::new(setup, buffers.storage(), State::at(&plan, 7));
    let mut trainer = trainer.expect("a trainer");
    let mut saved = vec![0; setup.saved_len()];
    trainer.save(&mut saved).expect("enough bytes");
    let state = saved.len() - State::<f32>::SAVED_LEN;
    let inputs: [Vec<f32>; 2] = [odd.numbers(6), odd.numbers(6)];
    let inputs = [inputs[0].as_slice(), inputs[1].as_slice()];
    for round in 0..6000 {
        let mut bytes = saved.clone();
        match round % 3 {
            // Noise, or a cut.
            0 => {
                let length = odd.random.below(2 * saved.len());
                bytes = (0..length).map(|_| odd.random.bits() as u8).collect();
                if odd.once_in(2) {
                    let kept = length.min(odd.random.below(OVERHEAD));
                    bytes[..kept].copy_from_slice(&saved[..kept]);
                }
            }
            // Other contents under a right checksum: counts, floats, positions in the plan.
            1 => {
                let at = odd.random.range(8, state - 1);
                bytes[at] = odd.pick(&[0, 1, 0x7f, 0xff, 0x80]);
                mend(&mut bytes[..state]);
            }
            _ => {
                for _ in 0..odd.random.range(1, 4) {
                    let at = odd.random.range(state + OVERHEAD + 12, saved.len() - 1);
                    bytes[at] = odd.pick(&[0, 1, 0x7f, 0xff, 0x80]);
                }
                mend(&mut bytes[state..]);
            }
        }
        let loaded = trainer.load(&bytes);
        if loaded.is_ok() {
            // Whatever it now holds, a step is a step or an error.
            let _ = f32::align(
                odd.level(),
                &mut trainer,
                &GramLoss::paper(0),
                &inputs,
                None,
                3,
            );
            let _ = trainer.schedule().position();
        }
        tally.count(loaded);
    }
    tally.assert_mixed();
}
