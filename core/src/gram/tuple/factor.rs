//! The factors of one tuple: Z = T·X and Z·Zᵀ = L·diag(π)·Lᵀ, from which the volume and its gradient come.

use crate::lanes::{Isa, Lanes, Real};

/// A loop over a part of 0..K, written out for up to three vectors: compiled for size, the compiler unrolls nothing, and
/// what a loop indexes lies in memory instead of registers. No function can take its place, since a closure is compiled
/// without the instruction set of its [`Isa::enter`].
macro_rules! each {
    ($p:ident in $range:expr, $body:block) => {
        if K <= 3 {
            if ($range).contains(&0) {
                let $p = 0;
                $body
            }
            if ($range).contains(&1) {
                let $p = 1;
                $body
            }
            if ($range).contains(&2) {
                let $p = 2;
                $body
            }
        } else {
            for $p in $range $body
        }
    };
}

/// x in all places, without a loop for up to three of them.
#[inline(always)]
fn filled<V: Copy, const K: usize>(x: V) -> [V; K] {
    match [x, x, x].first_chunk() {
        Some(places) => *places,
        None => [x; K],
    }
}

/// [`filled`] with 0, for a matrix.
#[inline(always)]
fn zeros<V: Copy, const K: usize>(zero: V) -> [[V; K]; K] {
    filled(filled(zero))
}

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

/// The rows, the base first.
#[inline(always)]
pub(in crate::gram) fn rows_of<T, const K: usize, const D: usize>(
    vectors: &[[T; D]; K],
) -> [&[T]; K] {
    let mut rows = filled([].as_slice());
    each!(p in 0..K, {
        rows[p] = vectors[p].as_slice();
    });
    swap_base(&mut rows);
    rows
}

/// The second vector comes first: the base must be a member of the item, not the anchor. Two items that
/// are near each other and far from the anchor would lose their difference to an anchor as base.
#[inline(always)]
pub(in crate::gram) fn swap_base<R, const K: usize>(rows: &mut [R; K]) {
    if let [first, second, ..] = rows.as_mut_slice() {
        core::mem::swap(first, second);
    }
}

/// The volume, or its logarithm. For `EXACT` see [`Frame`].
#[inline(always)]
pub(in crate::gram) fn volume_of_rows<
    I: Isa,
    const K: usize,
    const EXACT: bool,
    const LOG: bool,
>(
    isa: I,
    rows: [&[I::Scalar]; K],
    d: usize,
) -> I::Scalar {
    match factored::<I, K, EXACT>(isa, &rows, d) {
        Some((_, factors)) => factors.volume::<LOG>(),
        None => zero_volume::<_, LOG>(),
    }
}

/// The same with its gradient.
#[inline(always)]
pub(in crate::gram) fn volume_gradient_of_rows<
    I: Isa,
    const K: usize,
    const EXACT: bool,
    const LOG: bool,
>(
    isa: I,
    rows: [&[I::Scalar]; K],
    d: usize,
    gradient: [&mut [I::Scalar]; K],
) -> I::Scalar {
    match factored::<I, K, EXACT>(isa, &rows, d) {
        Some((frame, factors)) => {
            let volume = factors.volume::<LOG>();
            let factor = if LOG { I::Scalar::ONE } else { volume };
            let matrix = gradient_matrix(&frame, &factors, factor);
            // The usual rows in a loop of their own.
            if EXACT && matches!(frame.form, Form::Differences) {
                let frame = Frame::<_, K, EXACT>::differences();
                write_gradient(isa, &rows, d, &frame, &matrix, gradient);
            } else {
                write_gradient(isa, &rows, d, &frame, &matrix, gradient);
            }
            volume
        }
        None => no_gradient::<_, K, LOG>(gradient),
    }
}

/// matrix·Z into `gradient`.
#[inline(always)]
fn write_gradient<I: Isa, const K: usize, const EXACT: bool>(
    isa: I,
    rows: &[&[I::Scalar]; K],
    d: usize,
    frame: &Frame<I::Scalar, K, EXACT>,
    matrix: &[[I::Scalar; K]; K],
    gradient: [&mut [I::Scalar]; K],
) {
    let mut at = 0;
    while at < d {
        let z = frame.rows(isa, values_at(isa, rows, at));
        each!(p in 0..K, {
            let mut sum = isa.splat(matrix[p][0]) * z[0];
            each!(q in 1..K, {
                sum = isa.splat(matrix[p][q]).mul_add(z[q], sum);
            });
            isa.store(sum, gradient[p].get_mut(at..).unwrap_or_default());
        });
        at = at.saturating_add(I::WIDTH);
    }
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
        each!(p in 0..K, {
            volume = volume * self.pivot[p].sqrt();
        });
        volume
    }
}

/// T, unit lower triangular. With `EXACT` it is the sum of two words and multiplies X, and every rounding of a sum is kept;
/// without, it is one word and multiplies the differences to the base, and all is rounded once.
struct Frame<T, const K: usize, const EXACT: bool> {
    high: [[T; K]; K],
    low: [[T; K]; K],
    form: Form,
}

/// What a row of Z takes.
#[derive(Clone, Copy)]
enum Form {
    /// x − b: no products.
    Differences,
    /// x − s·b, where s has half as many bits as a number: its products with the halves of b are exact.
    Multiples,
    /// Every sum of products.
    Sums,
}

impl<T: Real, const K: usize, const EXACT: bool> Frame<T, K, EXACT> {
    /// All rows minus the base.
    #[inline(always)]
    fn differences() -> Self {
        let mut high = zeros::<_, K>(T::ZERO);
        each!(p in 0..K, {
            if EXACT {
                high[p][0] = -T::ONE;
            }
            high[p][p] = T::ONE;
        });
        Frame {
            high,
            low: zeros(T::ZERO),
            form: Form::Differences,
        }
    }

    /// Takes multiples of the base instead of differences, if L⁻¹ takes nothing else. Of more than three vectors each k
    /// would have this code besides: a program with all of them would no longer fit a Cortex-M0.
    #[inline(always)]
    fn take_multiples(&mut self, lower: &[[T; K]; K]) -> bool {
        if !EXACT || K > 3 || !matches!(self.form, Form::Differences) {
            return false;
        }
        let mut only = true;
        each!(p in 1..K, {
            each!(q in 1..p, {
                only &= lower[p][q] == T::ZERO;
            });
        });
        if only {
            each!(p in 1..K, {
                self.high[p][0] = -(T::ONE + lower[p][0]).high_half();
            });
            self.form = Form::Multiples;
        }
        only
    }

    /// The rows z where the vectors are `values`.
    #[inline(always)]
    fn rows<I: Isa<Scalar = T>>(&self, isa: I, values: [I::Lanes; K]) -> [I::Lanes; K] {
        let mut z = values;
        match self.form {
            Form::Multiples => {
                let high = values[0].high_half();
                let low = values[0] - high;
                each!(p in 1..K, {
                    // The first difference is exact where it cancels.
                    let s = isa.splat(self.high[p][0]);
                    z[p] = s.mul_add(low, s.mul_add(high, values[p]));
                });
            }
            Form::Sums if EXACT => {
                each!(p in 1..K, {
                    let mut sum = (values[p], isa.splat(T::ZERO));
                    each!(q in 0..p, {
                        let t = (isa.splat(self.high[p][q]), isa.splat(self.low[p][q]));
                        sum = I::Lanes::plus_product(sum, t, values[q]);
                    });
                    z[p] = sum.0 + sum.1;
                });
            }
            Form::Differences | Form::Sums => {
                let mut differences = values;
                each!(p in 1..K, {
                    differences[p] = values[p] - values[0];
                });
                z = differences;
                if matches!(self.form, Form::Sums) {
                    each!(p in 1..K, {
                        each!(q in 0..p, {
                            z[p] = isa.splat(self.high[p][q]).mul_add(differences[q], z[p]);
                        });
                    });
                }
            }
        }
        z
    }

    /// Indices whose products are summed before they join the compensated total.
    const BLOCK: usize = if K <= 3 { 64 } else { 16 };

    /// Z·Zᵀ, lower triangle. Long sums go in blocks, so that their rounding does not grow with D.
    #[inline(always)]
    fn gram<I: Isa<Scalar = T>>(&self, isa: I, x: &[&[T]; K], d: usize) -> [[T; K]; K] {
        let mut total = zeros::<_, K>(isa.splat(T::ZERO));
        // −0 adds nothing, where 0 would to −0: an addition that the compiler leaves out.
        let mut error = zeros::<_, K>(isa.splat(-T::ZERO));
        let mut at = 0;
        while at < d {
            let length = Self::BLOCK.saturating_mul(I::WIDTH);
            let end = at.saturating_add(length).min(d);
            let sums = self.block(isa, x, at, end);
            each!(p in 0..K, {
                each!(q in 0..=p, {
                    if at == 0 {
                        total[p][q] = sums[p][q];
                    } else {
                        let (sum, rest) = total[p][q].two_sum(sums[p][q]);
                        total[p][q] = sum;
                        error[p][q] = error[p][q] + rest;
                    }
                });
            });
            at = end;
        }
        let mut gram = zeros::<_, K>(T::ZERO);
        each!(p in 0..K, {
            each!(q in 0..=p, {
                gram[p][q] = (total[p][q] + error[p][q]).sum();
            });
        });
        gram
    }

    /// The products of the rows z, lower triangle, summed over the indices from `at` to `end`.
    #[inline(always)]
    fn block<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        x: &[&[T]; K],
        at: usize,
        end: usize,
    ) -> [[I::Lanes; K]; K] {
        let mut sums = zeros::<_, K>(isa.splat(T::ZERO));
        let mut at = at;
        // Two sums for each product of three vectors, the commonest of tuples: a loop with half of the turns.
        if let (Form::Differences, [a, b, c]) = (self.form, x.as_slice()) {
            let [a, b, c] = [
                pairs(isa, a, at, end),
                pairs(isa, b, at, end),
                pairs(isa, c, at, end),
            ];
            let mut odd = sums;
            for (([a0, a1], [b0, b1]), [c0, c1]) in a.iter().zip(b).zip(c) {
                let [first, second] = [[a0, b0, c0], [a1, b1, c1]];
                sums = self.plus_products(isa, sums, loaded(isa, first));
                odd = self.plus_products(isa, odd, loaded(isa, second));
            }
            each!(p in 0..K, {
                each!(q in 0..=p, {
                    sums[p][q] = sums[p][q] + odd[p][q];
                });
            });
            at = at.saturating_add(a.len().saturating_mul(I::WIDTH.saturating_mul(2)));
        }
        while at < end {
            sums = self.plus_products(isa, sums, values_at(isa, x, at));
            at = at.saturating_add(I::WIDTH);
        }
        sums
    }

    /// The sums and the products of the rows z where the vectors are `values`.
    #[inline(always)]
    fn plus_products<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        mut sums: [[I::Lanes; K]; K],
        values: [I::Lanes; K],
    ) -> [[I::Lanes; K]; K] {
        let z = self.rows(isa, values);
        each!(p in 0..K, {
            each!(q in 0..=p, {
                sums[p][q] = z[p].mul_add(z[q], sums[p][q]);
            });
        });
        sums
    }

    /// Whether a row z is no longer than the rounding of its sum, whose terms cancel to the last digit: its vector is
    /// dependent, and the direction of z says nothing. `squares` are those of the differences.
    #[inline(always)]
    fn is_rounding(&self, gram: &[[T; K]; K], squares: &[T; K]) -> bool {
        // The rounding of two words is ε², that of a few sums in one word 4·ε. No square may leave the range, so
        // either factor takes its share.
        let rounding = if EXACT { T::EPSILON } else { T::constant(4.0) };
        let scale = T::EPSILON * T::EPSILON;
        let base = scale * squares[0];
        let mut found = false;
        each!(p in 1..K, {
            let t = rounding * self.high[p][0];
            let mut terms = t * t * base;
            each!(q in 1..=p, {
                let square = match EXACT {
                    // |x|² ≤ 2·(|x − b|² + |b|²).
                    true => scale.mul_add(squares[q], base),
                    false => scale * squares[q],
                };
                let t = rounding * self.high[p][q];
                terms = (t * t).mul_add(square, terms);
            });
            found |= gram[p][p] <= terms;
        });
        found
    }

    /// T ← L⁻¹·T.
    #[inline(always)]
    fn fold(&mut self, lower: &[[T; K]; K]) {
        each!(p in 1..K, {
            each!(q in 0..p, {
                let l = -lower[p][q];
                each!(c in 0..=q, {
                    if EXACT {
                        let sum = (self.high[p][c], self.low[p][c]);
                        let t = (self.high[q][c], self.low[q][c]);
                        let (high, low) = T::plus_product(sum, t, l);
                        (self.high[p][c], self.low[p][c]) = high.two_sum(low);
                    } else {
                        self.high[p][c] = l.mul_add(self.high[q][c], self.high[p][c]);
                    }
                });
            });
        });
        self.form = Form::Sums;
    }

    /// T as it multiplies X.
    #[inline(always)]
    fn over_vectors(&self) -> [[T; K]; K] {
        let mut over = self.high;
        if !EXACT {
            each!(p in 1..K, {
                each!(q in 1..=p, {
                    over[p][0] -= self.high[p][q];
                });
            });
        }
        over
    }
}

/// The vectors at `WIDTH` indices from `at` on.
#[inline(always)]
fn values_at<I: Isa, const K: usize>(isa: I, x: &[&[I::Scalar]; K], at: usize) -> [I::Lanes; K] {
    let mut values = filled::<_, K>(isa.splat(I::Scalar::ZERO));
    each!(p in 0..K, {
        values[p] = isa.load(x[p].get(at..).unwrap_or(&[]));
    });
    values
}

/// Three vectors at `WIDTH` indices, where K is 3.
#[inline(always)]
fn loaded<I: Isa, const K: usize>(isa: I, x: [&I::Block; 3]) -> [I::Lanes; K] {
    let mut values = filled::<_, K>(isa.splat(I::Scalar::ZERO));
    if K == 3 {
        each!(p in 0..K, {
            values[p] = isa.load(x[p].as_ref());
        });
    }
    values
}

/// The numbers from `at` to `end` in pairs of blocks.
#[inline(always)]
fn pairs<I: Isa>(isa: I, row: &[I::Scalar], at: usize, end: usize) -> &[[I::Block; 2]] {
    isa.blocks(row.get(at..end).unwrap_or_default())
        .0
        .as_chunks()
        .0
}

/// What became of the pivots of a symmetric matrix.
enum Pivots<T, const K: usize> {
    /// Every one kept its digits.
    Kept(Factors<T, K>),
    /// One did not: L, without the columns of the pivots that did not keep their digits.
    Lost([[T; K]; K]),
    /// A diagonal is 0, or too small for a normal number.
    Zero,
}

/// L and the pivots of a symmetric matrix (lower triangle).
#[inline(always)]
fn pivots<T: Real, const K: usize>(gram: &[[T; K]; K]) -> Pivots<T, K> {
    let keep = T::constant(keep(K));
    let mut work = *gram;
    let mut lower = zeros::<_, K>(T::ZERO);
    let mut pivot = filled::<_, K>(T::ZERO);
    let (mut kept, mut zero) = (true, false);
    each!(p in 0..K, {
        let (now, diagonal) = (work[p][p], gram[p][p]);
        pivot[p] = now;
        zero |= diagonal < T::MIN_POSITIVE;
        let lost = now <= keep * diagonal;
        kept &= !lost;
        each!(r in p + 1..K, {
            let l = if lost { T::ZERO } else { work[r][p] / now };
            lower[r][p] = l;
            each!(c in p + 1..=r, {
                let product = l * work[c][p];
                work[r][c] -= product;
            });
        });
    });
    if zero {
        return Pivots::Zero;
    }
    if !kept {
        let mut nothing = T::ZERO;
        each!(p in 0..K, {
            nothing += gram[p][p] * T::ZERO;
        });
        // A square that left the range stays infinite or NaN: a volume of 0 would be the best of matches.
        kept = nothing != T::ZERO;
    }
    match kept {
        true => Pivots::Kept(Factors { lower, pivot }),
        false => Pivots::Lost(lower),
    }
}

type Factored<T, const K: usize, const EXACT: bool> = (Frame<T, K, EXACT>, Factors<T, K>);

/// Rows z whose pivots keep their digits, and their factors; `None` where the vectors are dependent.
#[inline(always)]
fn factored<I: Isa, const K: usize, const EXACT: bool>(
    isa: I,
    rows: &[&[I::Scalar]; K],
    d: usize,
) -> Option<Factored<I::Scalar, K, EXACT>> {
    if K > d {
        return None;
    }
    let mut frame = Frame::<_, K, EXACT>::differences();
    let mut gram = frame.gram(isa, rows, d);
    let mut squares = filled::<_, K>(I::Scalar::ZERO);
    let mut left = sweeps(K);
    loop {
        let lower = match pivots(&gram) {
            Pivots::Kept(factors) => return Some((frame, factors)),
            Pivots::Lost(lower) => lower,
            Pivots::Zero => return None,
        };
        if matches!(frame.form, Form::Differences) {
            each!(p in 0..K, {
                squares[p] = gram[p][p];
            });
        }
        // A pass with half of the bits is one besides those with all.
        if !frame.take_multiples(&lower) {
            left = left.saturating_sub(1);
            if left == 0 {
                return None;
            }
            frame.fold(&lower);
        }
        gram = frame.gram(isa, rows, d);
        if matches!(frame.form, Form::Sums) && frame.is_rounding(&gram, &squares) {
            return None;
        }
    }
}

/// V·Tᵀ·(Z·Zᵀ)⁻¹: the gradient is this matrix times Z; that of ln V, with 1 for V.
#[inline(always)]
fn gradient_matrix<T: Real, const K: usize, const EXACT: bool>(
    frame: &Frame<T, K, EXACT>,
    factors: &Factors<T, K>,
    volume: T,
) -> [[T; K]; K] {
    let over = frame.over_vectors();
    let mut matrix = zeros::<_, K>(T::ZERO);
    each!(p in 0..K, {
        // Solve (L·diag·Lᵀ) y = V · column p of T.
        let mut y = filled::<_, K>(T::ZERO);
        each!(q in 0..K, {
            // V first: 1/π would leave the range where V/π does not.
            let mut sum = volume * over[q][p];
            each!(r in 0..q, {
                sum -= factors.lower[q][r] * y[r];
            });
            y[q] = sum;
        });
        each!(i in 0..K, {
            let q = K.saturating_sub(i).saturating_sub(1);
            let mut sum = y[q] / factors.pivot[q];
            each!(r in q + 1..K, {
                sum -= factors.lower[r][q] * y[r];
            });
            y[q] = sum;
        });
        matrix[p] = y;
    });
    matrix
}
