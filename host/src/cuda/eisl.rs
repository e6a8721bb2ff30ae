//! The edit-invariant sequence loss on a device, some rows at a time.

use rivergram_core::eisl::{
    Axis, Batch, Checked, Config, IGNORE, Input, Losses, Objective, Padding, Reduction, Select,
    Shape,
};
use rivergram_core::optim::rounding::Half;
use rivergram_cuda_kernels::kernels::eisl::{Eisl, Logit, ORDERS};
use rivergram_cuda_kernels::lanes::{Bf16, F32};

use super::Failure;
use super::device::{Counted, Device, Queue, Session, count, countable, split};
use super::driver::{EislPass, Numbers, Room, Task};

/// The most rows that one launch takes.
const ROWS: usize = 65535;

/// What logits are stored as: what the host has of it, and its kernels.
pub(super) trait Stored: Logit {
    /// One of them on the host.
    type Host: Copy + Default;
    /// As a driver copies them.
    fn numbers(x: &[Self::Host]) -> Numbers<'_>;
    /// As a driver copies to them.
    fn room(x: &mut [Self::Host]) -> Room<'_>;
    /// Whether it is a number.
    fn is_finite(x: Self::Host) -> bool;
    /// A pass over them.
    fn task(pass: EislPass, p: Eisl<Self>) -> Task;
}

impl Stored for F32 {
    type Host = f32;
    fn numbers(x: &[f32]) -> Numbers<'_> {
        Numbers::F32(x)
    }
    fn room(x: &mut [f32]) -> Room<'_> {
        Room::F32(x)
    }
    fn is_finite(x: f32) -> bool {
        x.is_finite()
    }
    fn task(pass: EislPass, p: Eisl<Self>) -> Task {
        Task::Eisl(pass, p)
    }
}

impl Stored for Bf16 {
    type Host = u16;
    fn numbers(x: &[u16]) -> Numbers<'_> {
        Numbers::U16(x)
    }
    fn room(x: &mut [u16]) -> Room<'_> {
        Room::U16(x)
    }
    fn is_finite(x: u16) -> bool {
        Half::Bf16.widen(x).is_finite()
    }
    fn task(pass: EislPass, p: Eisl<Self>) -> Task {
        Task::EislBf16(pass, p)
    }
}

/// The batch as the kernels take it.
struct Given {
    shape: Shape,
    labels: Vec<i32>,
    /// What cross-entropy wants at each position.
    tokens: Vec<i32>,
    outputs: Vec<u32>,
    lengths: Vec<u32>,
    /// ∂loss/∂E of an n-gram, \[rows, orders\].
    factors: Vec<f32>,
    /// The part of each in [`Losses::eisl`].
    shares: Vec<f64>,
    orders: Vec<(usize, f32)>,
    /// Tokens that cross-entropy is the mean over.
    count: usize,
}

/// Refuses what the kernels cannot do.
fn check(config: &Config<'_, f32>, batch: &Batch<'_, f32>) -> Result<(), Failure> {
    let missing = [
        (
            !config.from_length.is_empty(),
            "orders that follow the length",
        ),
        (
            config.objective != Objective::EditInvariant,
            "bags of n-grams",
        ),
        (config.axis != Axis::Positions, "a selection over targets"),
        (config.input != Input::Logits, "log-probabilities"),
        (config.orders.len() > ORDERS, "more than eight orders"),
        (batch.noise.is_some(), "noise"),
        (batch.references.is_some(), "several references"),
        (
            !matches!(batch.reduction, Reduction::Mean),
            "other reductions",
        ),
        (batch.ce_upstream.is_some(), "derivatives of cross-entropy"),
    ];
    let found = missing.into_iter().find(|(is, _)| *is);
    found.map_or(Ok(()), |(_, what)| Err(Failure::NoKernel(what)))
}

impl Given {
    fn new(config: &Config<'_, f32>, batch: &Batch<'_, f32>) -> Result<Self, Failure> {
        check(config, batch)?;
        let checked = Checked::new(config, batch).map_err(|_| Failure::Input)?;
        let shape = batch.shape;
        let Shape {
            batch: rows,
            positions,
            targets,
            vocabulary,
        } = shape;
        if [rows, positions, targets, vocabulary].contains(&0) {
            return Err(Failure::NoKernel("an empty batch"));
        }
        countable(&[rows, positions])?;
        countable(&[vocabulary])?;
        countable(&[targets])?;
        let mut orders = config.orders.to_vec();
        orders.sort_by_key(|(n, _)| *n);
        if orders.first().is_some_and(|(n, _)| *n == 0) {
            return Err(Failure::NoKernel("an order of 0"));
        }
        let mut given = Given {
            shape,
            labels: batch.targets.to_vec(),
            tokens: vec![IGNORE; rows * positions],
            outputs: Vec::new(),
            lengths: Vec::new(),
            factors: Vec::new(),
            shares: Vec::new(),
            orders,
            count: checked.tokens(),
        };
        for row in 0..rows {
            let labels = &batch.targets[row * targets..(row + 1) * targets];
            let is_pad = |label: i32| label == IGNORE || Some(label) == config.pad_id;
            let last = labels.iter().rposition(|label| !is_pad(*label));
            let length = match batch.target_lens {
                Some(lengths) => lengths[row],
                None => last.map_or(0, |last| last + 1),
            };
            let own = &labels[..length.min(targets)];
            let masked = config.padding == Padding::Mask;
            let outputs = batch.output_lens.filter(|_| masked);
            let outputs = outputs.map_or(positions, |lengths| lengths[row]);
            let outputs = outputs.min(positions);
            // What is not masked is not shortened either.
            let grams_of = if masked { own } else { labels };
            if grams_of.contains(&IGNORE) {
                return Err(Failure::NoKernel("gaps within a target"));
            }
            if config.padding == Padding::Zero && grams_of.iter().any(|label| is_pad(*label)) {
                return Err(Failure::NoKernel("pads that score 0"));
            }
            if config.ce_factor != 0.0 {
                let tokens = &mut given.tokens[row * positions..][..outputs];
                for (token, label) in tokens.iter_mut().zip(own) {
                    *token = *label;
                }
            }
            given.outputs.push(count(outputs)?);
            given.lengths.push(count(grams_of.len())?);
            for (n, weight) in &given.orders {
                let grams = (grams_of.len() + 1).saturating_sub(*n).max(1);
                let mean = (rows * grams) as f32;
                given.factors.push(-config.ngram_factor * weight / mean);
                let share = if config.ngram_factor == 0.0 {
                    0.0
                } else {
                    f64::from(*weight)
                };
                given.shares.push(-share / (rows * grams) as f64);
            }
        }
        Ok(given)
    }
}

impl Given {
    /// Copies what belongs to the rows from `start` on.
    fn load<T: Stored>(
        &self,
        session: &mut Session<'_>,
        p: Eisl<T>,
        start: usize,
    ) -> Result<(), Failure> {
        let rows = p.rows as usize;
        let of = |each: usize| start * each..(start + rows) * each;
        let (positions, targets) = (self.shape.positions, self.shape.targets);
        session.upload(Numbers::I32(&self.labels[of(targets)]), p.labels)?;
        session.upload(Numbers::I32(&self.tokens[of(positions)]), p.tokens)?;
        session.upload(Numbers::U32(&self.outputs[of(1)]), p.outputs)?;
        session.upload(Numbers::U32(&self.lengths[of(1)]), p.lengths)?;
        session.upload(
            Numbers::F32(&self.factors[of(self.orders.len())]),
            p.factors,
        )
    }

    /// The gradient of these rows, and what they add to the two losses, before the mean over tokens.
    fn read<T: Stored>(
        &self,
        session: &mut Session<'_>,
        p: Eisl<T>,
        start: usize,
        gradient: &mut [T::Host],
    ) -> Result<[f64; 2], Failure> {
        let (rows, orders) = (p.rows as usize, self.orders.len());
        let Shape {
            positions, targets, ..
        } = self.shape;
        let mut values = vec![0.0; rows * orders * targets];
        let mut cross_entropy = vec![0.0; rows * positions];
        let mut sums = vec![0.0; 2 * rows * positions];
        session.download(&mut [
            (p.values.at(0), Room::F32(&mut values)),
            (p.cross_entropy.at(0), Room::F32(&mut cross_entropy)),
            (p.sums.at(0), Room::F32(&mut sums)),
            (p.logits.at(0), T::room(gradient)),
        ])?;
        // A position that is no distribution is marked; others than those that count were not looked at.
        let ln_sums = sums[rows * positions..].chunks(positions);
        for ((ln_sums, tokens), outputs) in ln_sums
            .zip(self.tokens[start * positions..].chunks(positions))
            .zip(&self.outputs[start..])
        {
            let has_ngrams = self.shares.iter().any(|share| *share != 0.0);
            let looked_at = |j: usize| (has_ngrams && j < *outputs as usize) || tokens[j] != IGNORE;
            let mut bad = (0..positions).filter(|j| looked_at(*j) && !ln_sums[*j].is_finite());
            if bad.next().is_some() {
                return Err(Failure::Input);
            }
        }
        let shares = &self.shares[start * orders..(start + rows) * orders];
        let eisl = shares
            .iter()
            .zip(values.chunks(targets))
            .filter(|(share, _)| **share != 0.0)
            .map(|(share, e)| share * e.iter().copied().map(f64::from).sum::<f64>());
        let eisl: f64 = eisl.sum();
        let ce: f64 = cross_entropy.iter().copied().map(f64::from).sum();
        if eisl.is_finite() && ce.is_finite() && gradient.iter().all(|x| T::is_finite(*x)) {
            Ok([eisl, ce])
        } else {
            Err(Failure::Input)
        }
    }
}

/// The views of so many rows.
fn rooms<T: Stored>(
    queue: &mut impl Queue,
    rows: usize,
    shape: Shape,
    orders: usize,
) -> Result<Eisl<T>, Failure> {
    let Shape {
        positions,
        targets,
        vocabulary,
        ..
    } = shape;
    let (at, matrix) = (rows * positions, rows * positions * targets);
    Ok(Eisl {
        logits: queue.room(at * vocabulary)?,
        labels: queue.room(rows * targets)?,
        tokens: queue.room(at)?,
        outputs: queue.room(rows)?,
        lengths: queue.room(rows)?,
        factors: queue.room(rows * orders)?,
        sums: queue.room(2 * at)?,
        scores: queue.room(matrix)?,
        work: queue.room(2 * matrix)?,
        gradient: queue.room(matrix)?,
        values: queue.room(rows * orders * targets)?,
        cross_entropy: queue.room(at)?,
        rows: count(rows)?,
        positions: count(positions)?,
        targets: count(targets)?,
        vocabulary: count(vocabulary)?,
        orders: [0; ORDERS],
        order_count: count(orders)?,
        select: 0,
        temperature: F32(1.0),
        clamp: F32(f32::NEG_INFINITY),
        smoothing: F32(0.0),
        token_share: F32(0.0),
    })
}

fn with_options<T>(
    mut p: Eisl<T>,
    config: &Config<'_, f32>,
    orders: &[(usize, f32)],
    count: usize,
) -> Eisl<T> {
    for (to, (n, _)) in p.orders.iter_mut().zip(orders) {
        *to = u32::try_from(*n).unwrap_or(u32::MAX);
    }
    p.select = match config.select {
        Select::Softmax => 0,
        Select::Detached => 1,
        Select::LogSumExp => 2,
        Select::Mean => 3,
        Select::Max => 4,
    };
    p.temperature = F32(config.temperature);
    p.clamp = F32(config.clamp.unwrap_or(f32::NEG_INFINITY));
    p.smoothing = F32(config.label_smoothing);
    p.token_share = F32(config.ce_factor / count.max(1) as f32);
    p
}

/// The loss and its gradient over the logits.
pub(super) fn queue_loss<T: Stored>(queue: &mut impl Queue, p: Eisl<T>) -> Result<(), Failure> {
    let each = [p.positions, p.rows];
    queue.launch(&T::task(EislPass::Read, p), each)?;
    queue.launch(&T::task(EislPass::Ngrams, p), [p.rows, 1])?;
    queue.launch(&T::task(EislPass::Write, p), each)
}

impl Device {
    /// [`loss_and_gradient_in_place`](rivergram_core::eisl::loss_and_gradient_in_place) by the kernels: `x` \[B\]\[T\]\[V\]
    /// becomes the gradient. The batch goes by in as many rows as fit the device's memory. Waits for each part.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: noise, several references, a selection over targets, gaps within a target, pads that score 0,
    /// log-probabilities, other reductions. [`Failure::Input`]: what core refuses. Others: what became of the
    /// device. After an error `x` is as it was.
    pub fn eisl_loss(
        &self,
        config: &Config<'_, f32>,
        batch: &Batch<'_, f32>,
        x: &mut [f32],
    ) -> Result<Losses<f32>, Failure> {
        loss::<F32>(self, config, batch, x)
    }

    /// [`half_loss_and_gradient_in_place`](rivergram_core::eisl::half_loss_and_gradient_in_place) by the kernels: as
    /// [`Device::eisl_loss`], of logits in 16 bits, given as their bits. The logits are widened, every sum is in `f32`, and
    /// the gradient is rounded to nearest where it takes their place.
    ///
    /// # Errors
    /// Those of [`Device::eisl_loss`]; [`Failure::NoKernel`]: [`Half::F16`].
    pub fn eisl_loss_half(
        &self,
        config: &Config<'_, f32>,
        batch: &Batch<'_, f32>,
        half: Half,
        x: &mut [u16],
    ) -> Result<Losses<f32>, Failure> {
        match half {
            Half::Bf16 => loss::<Bf16>(self, config, batch, x),
            Half::F16 => Err(Failure::NoKernel("a sequence loss of logits in binary16")),
        }
    }
}

/// The loss of logits as they are stored, which become their gradient.
fn loss<T: Stored>(
    device: &Device,
    config: &Config<'_, f32>,
    batch: &Batch<'_, f32>,
    x: &mut [T::Host],
) -> Result<Losses<f32>, Failure> {
    let given = Given::new(config, batch)?;
    let Shape {
        batch: rows,
        positions,
        vocabulary,
        ..
    } = given.shape;
    let line = positions.checked_mul(vocabulary).ok_or(Failure::Size)?;
    if rows.checked_mul(line) != Some(x.len()) {
        return Err(Failure::Input);
    }
    let orders = given.orders.len();
    let mut session = device.session()?;
    let budget = session.budget()?;
    let bytes =
        |n: usize| Counted::of(|queue| rooms::<T>(queue, n, given.shape, orders)).saturating_mul(4);
    let [n, _] = split([rows.min(ROWS), 1], budget, |[n, _]| bytes(n))?;
    let room = rooms::<T>(&mut session, n, given.shape, orders)?;
    let room = with_options(room, config, &given.orders, given.count);
    // Until the last part is there the logits stay as they are.
    let mut gradients = vec![T::Host::default(); x.len()];
    let (mut eisl, mut ce) = (0.0, 0.0);
    for start in (0..rows).step_by(n) {
        let p = Eisl {
            rows: count(n.min(rows - start))?,
            ..room
        };
        let own = start * line..(start + p.rows as usize) * line;
        session.upload(T::numbers(&x[own.clone()]), p.logits)?;
        given.load(&mut session, p, start)?;
        queue_loss(&mut session, p)?;
        let found = given.read(&mut session, p, start, &mut gradients[own])?;
        eisl += found[0];
        ce += found[1];
    }
    x.copy_from_slice(&gradients);
    let ce = ce / given.count.max(1) as f64;
    let [eisl, ce] = [eisl as f32, ce as f32];
    Ok(Losses {
        total: config.ngram_factor * eisl + config.ce_factor * ce,
        eisl,
        ce,
    })
}
