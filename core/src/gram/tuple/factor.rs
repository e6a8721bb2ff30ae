//! The factors of one tuple: Z = T·X and Z·Zᵀ = L·diag(π)·Lᵀ, from which the volume and its gradient come.

use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::ops::Walk;

/// Passes over k vectors before a pivot that keeps collapsing counts as 0. Cost: O(1).
///
/// ```
/// assert_eq!(rivergram_core::gram::tuple::sweeps(3), 4);
/// ```
pub const fn sweeps(k: usize) -> usize {
    if k <= 3 { 4 } else { k.saturating_add(1) }
}

/// A pivot of k vectors below this part of its diagonal is computed again from better rows. With more
/// vectors, more pivots take their share of the rounding.
const fn keep(k: usize) -> f64 {
    if k <= 3 { 0.4 } else { 0.6 }
}

/// The second vector comes first: the base must be a member of the item, not the anchor. Two items that
/// are near each other and far from the anchor would lose their difference to an anchor as base.
#[inline(always)]
pub(super) fn swap_base<R, const K: usize>(rows: &mut [R; K]) {
    if let [first, second, ..] = rows.as_mut_slice() {
        core::mem::swap(first, second);
    }
}

#[inline(always)]
pub(super) fn volume_of_rows<I: Isa, const K: usize, const LOG: bool>(
    isa: I,
    rows: [&[I::Scalar]; K],
    d: usize,
) -> I::Scalar {
    if K > d {
        return zero_volume::<_, LOG>();
    }
    match pivots(&gram_of_differences(isa, &rows, d)) {
        Pivots::Kept(factors) => factors.volume::<LOG>(),
        Pivots::Lost(start) => isa.enter(RefinedVolume::<_, K, LOG> { rows, d, start }),
        Pivots::Zero => zero_volume::<_, LOG>(),
    }
}

#[inline(always)]
pub(super) fn volume_gradient_of_rows<I: Isa, const K: usize, const LOG: bool>(
    isa: I,
    rows: [&[I::Scalar]; K],
    d: usize,
    gradient: [&mut [I::Scalar]; K],
) -> I::Scalar {
    let pivots = match K > d {
        true => Pivots::Zero,
        false => pivots(&gram_of_differences(isa, &rows, d)),
    };
    match pivots {
        Pivots::Kept(factors) => {
            gradient_of::<I, K, LOG>(isa, rows, d, &Frame::differences(), &factors, gradient)
        }
        Pivots::Lost(start) => isa.enter(RefinedGradient::<_, K, LOG> {
            rows,
            d,
            start,
            gradient,
        }),
        Pivots::Zero => no_gradient::<_, K, LOG>(gradient),
    }
}

/// The volume of vectors whose differences are not orthogonal enough: rare, so a function of its own.
struct RefinedVolume<'a, T, const K: usize, const LOG: bool> {
    rows: [&'a [T]; K],
    d: usize,
    start: Start<T, K>,
}

impl<T: Real, const K: usize, const LOG: bool> Kernel<T> for RefinedVolume<'_, T, K, LOG> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> T {
        match refine(isa, &self.rows, self.d, self.start) {
            Some((_, factors)) => factors.volume::<LOG>(),
            None => zero_volume::<_, LOG>(),
        }
    }
}

/// The same with the gradient.
struct RefinedGradient<'a, T, const K: usize, const LOG: bool> {
    rows: [&'a [T]; K],
    d: usize,
    start: Start<T, K>,
    gradient: [&'a mut [T]; K],
}

impl<T: Real, const K: usize, const LOG: bool> Kernel<T> for RefinedGradient<'_, T, K, LOG> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> T {
        match refine(isa, &self.rows, self.d, self.start) {
            Some((frame, factors)) => {
                let Self {
                    rows, d, gradient, ..
                } = self;
                gradient_of::<I, K, LOG>(isa, rows, d, &frame, &factors, gradient)
            }
            None => no_gradient::<_, K, LOG>(self.gradient),
        }
    }
}

/// The volume, and its gradient into `gradient`.
#[inline(always)]
fn gradient_of<I: Isa, const K: usize, const LOG: bool>(
    isa: I,
    rows: [&[I::Scalar]; K],
    d: usize,
    frame: &Frame<I::Scalar, K>,
    factors: &Factors<I::Scalar, K>,
    mut gradient: [&mut [I::Scalar]; K],
) -> I::Scalar {
    let volume = factors.volume::<LOG>();
    let factor = if LOG { I::Scalar::ONE } else { volume };
    let matrix = gradient_matrix(frame, factors, factor);
    let mut at = 0;
    while at < d {
        let z = frame.rows_at(isa, &rows, at);
        for (g, weights) in gradient.iter_mut().zip(&matrix) {
            let mut sum = isa.splat(I::Scalar::ZERO);
            for (w, z) in weights.iter().zip(&z) {
                sum = isa.splat(*w).mul_add(*z, sum);
            }
            isa.store(sum, g.get_mut(at..).unwrap_or_default());
        }
        at = at.saturating_add(I::WIDTH);
    }
    volume
}

#[inline(always)]
fn no_gradient<T: Real, const K: usize, const LOG: bool>(gradient: [&mut [T]; K]) -> T {
    for row in gradient {
        row.fill(T::ZERO);
    }
    zero_volume::<_, LOG>()
}

/// The volume of dependent vectors, or its logarithm.
#[inline(always)]
pub(super) fn zero_volume<T: Real, const LOG: bool>() -> T {
    if LOG { -T::INFINITY } else { T::ZERO }
}

/// Z·Zᵀ = L·diag(pivot)·Lᵀ, L unit lower triangular (its strict lower part is kept).
struct Factors<T, const K: usize> {
    lower: [[T; K]; K],
    pivot: [T; K],
}

impl<T: Real, const K: usize> Factors<T, K> {
    /// Π sqrt(π), not sqrt(Π π): the product of squares would leave the range first. As a logarithm ½ Σ ln π, of which
    /// no partial sum leaves it.
    #[inline(always)]
    fn volume<const LOG: bool>(&self) -> T {
        if LOG {
            let sum = self
                .pivot
                .iter()
                .fold(T::ZERO, |sum, pivot| sum + pivot.ln());
            return T::constant(0.5) * sum;
        }
        let mut volume = T::ONE;
        for pivot in self.pivot {
            volume = volume * pivot.sqrt();
        }
        volume
    }
}

/// T, unit lower triangular, as the sum of two words.
struct Frame<T, const K: usize> {
    high: [[T; K]; K],
    low: [[T; K]; K],
    form: Form,
}

/// What a row of T·X takes.
#[derive(Clone, Copy)]
enum Form {
    /// x − b: no products.
    Differences,
    /// x − s·b, where s has half as many bits as a number: its products with the halves of b are exact.
    Multiples,
    /// Every sum of products, compensated.
    Sums,
}

impl<T: Real, const K: usize> Frame<T, K> {
    /// All rows minus the base.
    #[inline(always)]
    fn differences() -> Self {
        let mut high = [[T::ZERO; K]; K];
        for p in 0..K {
            high[p][0] = -T::ONE;
            high[p][p] = T::ONE;
        }
        Frame {
            high,
            low: [[T::ZERO; K]; K],
            form: Form::Differences,
        }
    }

    /// Takes multiples of the base instead of differences, if L⁻¹ takes nothing else. Of more than three vectors each k
    /// would have this code besides: a program with all of them would no longer fit a Cortex-M0.
    #[inline(always)]
    fn take_multiples(&mut self, lower: &[[T; K]; K]) -> bool {
        if K > 3 {
            return false;
        }
        for p in 1..K {
            for q in 1..p {
                if lower[p][q] != T::ZERO {
                    return false;
                }
            }
        }
        for p in 1..K {
            self.high[p][0] = -(T::ONE + lower[p][0]).high_half();
        }
        self.form = Form::Multiples;
        true
    }

    /// The rows z at `WIDTH` indices from `at` on.
    #[inline(always)]
    fn rows_at<I: Isa<Scalar = T>>(&self, isa: I, x: &[&[T]; K], at: usize) -> [I::Lanes; K] {
        let mut values = [isa.splat(T::ZERO); K];
        for (value, row) in values.iter_mut().zip(x) {
            *value = isa.load(row.get(at..).unwrap_or(&[]));
        }
        let mut z = values;
        match self.form {
            Form::Differences => {
                for p in 1..K {
                    z[p] = values[p] - values[0];
                }
                return z;
            }
            Form::Multiples => {
                let high = values[0].high_half();
                let low = values[0] - high;
                for p in 1..K {
                    // The first difference is exact where it cancels.
                    let s = isa.splat(self.high[p][0]);
                    z[p] = s.mul_add(low, s.mul_add(high, values[p]));
                }
                return z;
            }
            Form::Sums => {}
        }
        for p in 1..K {
            let (mut sum, mut error) = (values[p], isa.splat(T::ZERO));
            for q in 0..p {
                let (product, product_error) = isa.splat(self.high[p][q]).two_product(values[q]);
                let (next, sum_error) = sum.two_sum(product);
                sum = next;
                error = error + (product_error + sum_error);
                error = isa.splat(self.low[p][q]).mul_add(values[q], error);
            }
            z[p] = sum + error;
        }
        z
    }

    /// Indices whose products are summed before they join the compensated total.
    const BLOCK: usize = if K <= 3 { 32 } else { 16 };

    /// Z·Zᵀ, lower triangle. Long sums go in blocks, so that their rounding does not grow with D.
    #[inline(always)]
    fn gram<I: Isa<Scalar = T>>(&self, isa: I, x: &[&[T]; K], d: usize) -> [[T; K]; K] {
        let mut total = [[isa.splat(T::ZERO); K]; K];
        let mut error = total;
        let mut at = 0;
        while at < d {
            let end = at
                .saturating_add(Self::BLOCK.saturating_mul(I::WIDTH))
                .min(d);
            let mut sums = [[isa.splat(T::ZERO); K]; K];
            while at < end {
                let z = self.rows_at(isa, x, at);
                for p in 0..K {
                    for q in 0..=p {
                        sums[p][q] = z[p].mul_add(z[q], sums[p][q]);
                    }
                }
                at = at.saturating_add(I::WIDTH);
            }
            for p in 0..K {
                for q in 0..=p {
                    let (sum, rest) = total[p][q].two_sum(sums[p][q]);
                    total[p][q] = sum;
                    error[p][q] = error[p][q] + rest;
                }
            }
        }
        let mut gram = [[T::ZERO; K]; K];
        for p in 0..K {
            for q in 0..=p {
                gram[p][q] = (total[p][q] + error[p][q]).sum();
            }
        }
        gram
    }

    /// Whether a row z is no longer than the rounding of its sum, whose terms cancel to the last digit of two
    /// words: its vector is dependent, and the direction of z says nothing. `squares` are those of the differences.
    #[inline(always)]
    fn is_rounding(&self, gram: &[[T; K]; K], squares: &[T; K]) -> bool {
        let mut lengths = squares.map(T::sqrt);
        for p in 1..K {
            // |x| ≤ |x − b| + |b|.
            lengths[p] += lengths[0];
        }
        let mut found = false;
        for p in 1..K {
            let mut terms = T::ZERO;
            for (part, length) in self.high[p].iter().zip(&lengths) {
                terms += part.abs() * *length;
            }
            found |= gram[p][p].sqrt() <= T::EPSILON * T::EPSILON * terms;
        }
        found
    }

    /// T ← L⁻¹·T.
    #[inline(always)]
    fn fold(&mut self, lower: &[[T; K]; K]) {
        for p in 1..K {
            for q in 0..p {
                let l = -lower[p][q];
                for c in 0..=q {
                    let (product, product_error) = l.two_product(self.high[q][c]);
                    let (high, sum_error) = self.high[p][c].two_sum(product);
                    let low = self.low[p][c] + l * self.low[q][c] + (product_error + sum_error);
                    (self.high[p][c], self.low[p][c]) = high.two_sum(low);
                }
            }
        }
        self.form = Form::Sums;
    }
}

/// The Gram matrix of the differences to the base, lower triangle: the first row stays as it is.
#[inline(always)]
fn gram_of_differences<I: Isa, const K: usize>(
    isa: I,
    rows: &[&[I::Scalar]; K],
    d: usize,
) -> [[I::Scalar; K]; K] {
    let mut gram = [[I::Scalar::ZERO; K]; K];
    if let [a, b, c] = rows.as_slice() {
        let mut sums = three(isa, a, b, c).into_iter();
        for p in 0..K {
            for (g, sum) in gram[p].iter_mut().zip(sums.by_ref().take(p + 1)) {
                *g = sum;
            }
        }
        return gram;
    }
    Frame::differences().gram(isa, rows, d)
}

/// [`gram_of_differences`] of three vectors written out, the commonest of tuples: no index is checked and no sum lies
/// in memory, also where the compiler unrolls no loop.
#[inline(always)]
fn three<I: Isa>(isa: I, a: &[I::Scalar], b: &[I::Scalar], c: &[I::Scalar]) -> [I::Scalar; 6] {
    let zero = isa.splat(I::Scalar::ZERO);
    let ((a, a_tail), (b, b_tail), (c, c_tail)) = (isa.blocks(a), isa.blocks(b), isa.blocks(c));
    let mut total = plus_loaded(isa, [zero; 6], [a_tail, b_tail, c_tail]);
    let mut error = [zero; 6];
    let length = 2 * Frame::<I::Scalar, 3>::BLOCK;
    for ((a, b), c) in a.pieces(length).zip(b.pieces(length)).zip(c.pieces(length)) {
        let (mut even, mut odd) = ([zero; 6], [zero; 6]);
        let ((a, a_last), (b, b_last), (c, c_last)) =
            (a.as_chunks::<2>(), b.as_chunks::<2>(), c.as_chunks::<2>());
        for (([a0, a1], [b0, b1]), [c0, c1]) in a.iter().zip(b).zip(c) {
            even = plus_loaded(isa, even, [a0.as_ref(), b0.as_ref(), c0.as_ref()]);
            odd = plus_loaded(isa, odd, [a1.as_ref(), b1.as_ref(), c1.as_ref()]);
        }
        if let ([a], [b], [c]) = (a_last, b_last, c_last) {
            even = plus_loaded(isa, even, [a.as_ref(), b.as_ref(), c.as_ref()]);
        }
        for i in 0..6 {
            let (sum, rest) = total[i].two_sum(even[i] + odd[i]);
            total[i] = sum;
            error[i] = error[i] + rest;
        }
    }
    let mut sums = [I::Scalar::ZERO; 6];
    for i in 0..6 {
        sums[i] = (total[i] + error[i]).sum();
    }
    sums
}

/// [`plus_products`] of as many numbers as there are lanes, or of fewer.
#[inline(always)]
fn plus_loaded<I: Isa>(isa: I, sums: [I::Lanes; 6], [a, b, c]: [&[I::Scalar]; 3]) -> [I::Lanes; 6] {
    plus_products(sums, isa.load(a), isa.load(b), isa.load(c))
}

/// The products of a and of the differences to it, added to [aa, ab, bb, ac, bc, cc].
#[inline(always)]
fn plus_products<V: Lanes>([aa, ab, bb, ac, bc, cc]: [V; 6], a: V, b: V, c: V) -> [V; 6] {
    let (b, c) = (b - a, c - a);
    [
        a.mul_add(a, aa),
        b.mul_add(a, ab),
        b.mul_add(b, bb),
        c.mul_add(a, ac),
        c.mul_add(b, bc),
        c.mul_add(c, cc),
    ]
}

/// What became of the pivots of a symmetric matrix.
enum Pivots<T, const K: usize> {
    /// Every one kept its digits.
    Kept(Factors<T, K>),
    /// One did not.
    Lost(Start<T, K>),
    /// A diagonal is 0, or too small for a normal number.
    Zero,
}

/// What better rows are made from.
struct Start<T, const K: usize> {
    /// L, without the columns of the pivots that did not keep their digits.
    lower: [[T; K]; K],
    /// The squared lengths of the rows.
    squares: [T; K],
}

/// L and the pivots of a symmetric matrix (lower triangle).
#[inline(always)]
fn pivots<T: Real, const K: usize>(gram: &[[T; K]; K]) -> Pivots<T, K> {
    let keep = T::constant(keep(K));
    let mut work = *gram;
    let mut lower = [[T::ZERO; K]; K];
    let mut pivot = [T::ZERO; K];
    let (mut kept, mut zero, mut finite) = (true, false, true);
    for p in 0..K {
        let (now, diagonal) = (work[p][p], gram[p][p]);
        pivot[p] = now;
        zero |= diagonal < T::MIN_POSITIVE;
        finite &= diagonal <= T::MAX;
        let lost = now <= keep * diagonal;
        kept &= !lost;
        for r in p + 1..K {
            let l = if lost { T::ZERO } else { work[r][p] / now };
            lower[r][p] = l;
            for c in p + 1..=r {
                let product = l * work[c][p];
                work[r][c] -= product;
            }
        }
    }
    if zero {
        return Pivots::Zero;
    }
    // A square that left the range stays infinite or NaN: a volume of 0 would be the best of matches.
    match kept || !finite {
        true => Pivots::Kept(Factors { lower, pivot }),
        false => Pivots::Lost(Start {
            lower,
            squares: core::array::from_fn(|p| gram[p][p]),
        }),
    }
}

type Factored<T, const K: usize> = (Frame<T, K>, Factors<T, K>);

/// Rows z whose pivots keep their digits, and their factors; `None` where the vectors are dependent.
#[inline(always)]
fn refine<I: Isa, const K: usize>(
    isa: I,
    rows: &[&[I::Scalar]; K],
    d: usize,
    start: Start<I::Scalar, K>,
) -> Option<Factored<I::Scalar, K>> {
    let (mut frame, mut lower) = (Frame::differences(), start.lower);
    let mut half = frame.take_multiples(&lower);
    // A pass with half of the bits is one besides those with all.
    for _ in usize::from(!half)..sweeps(K) {
        if half {
            half = false;
        } else {
            frame.fold(&lower);
        }
        let gram = frame.gram(isa, rows, d);
        if frame.is_rounding(&gram, &start.squares) {
            return None;
        }
        match pivots(&gram) {
            Pivots::Kept(factors) => return Some((frame, factors)),
            Pivots::Lost(next) => lower = next.lower,
            Pivots::Zero => return None,
        }
    }
    None
}

/// V·Tᵀ·(Z·Zᵀ)⁻¹: the gradient is this matrix times Z = T·X; that of ln V, with 1 for V.
#[inline(always)]
fn gradient_matrix<T: Real, const K: usize>(
    frame: &Frame<T, K>,
    factors: &Factors<T, K>,
    volume: T,
) -> [[T; K]; K] {
    let mut matrix = [[T::ZERO; K]; K];
    for (p, row) in (0..K).zip(matrix.iter_mut()) {
        // Solve (L·diag·Lᵀ) y = V · column p of T.
        let mut y = [T::ZERO; K];
        for q in 0..K {
            // V first: 1/π would leave the range where V/π does not.
            let mut sum = volume * frame.high[q][p];
            for r in 0..q {
                sum -= factors.lower[q][r] * y[r];
            }
            y[q] = sum;
        }
        for q in (0..K).rev() {
            let mut sum = y[q] / factors.pivot[q];
            for r in q + 1..K {
                sum -= factors.lower[r][q] * y[r];
            }
            y[q] = sum;
        }
        *row = y;
    }
    matrix
}
