//! A head: what fine-tuning on a device trains. Linear, or with one hidden layer, then L2 normalisation.
//!
//! ```text
//! z = W·x + b          or          z = W₂·relu(W₁·x + b₁) + b₂          y = z / |z| (if asked for)
//! ```
//!
//! All parameters of a head lie in one slice, in the order W₁ \[hidden, input\], b₁, W₂ \[output, hidden\],
//! b₂, row-major: PyTorch's layout of `nn.Linear`.
//!
//! Source of the gradient: D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by
//! back-propagating errors", Nature 323, 1986.

use crate::error::TrainError;
use crate::features::{self, Features};
use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::ops::{self, Walk, split, take};

/// The sizes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Head {
    /// Features that go in.
    pub input: usize,
    /// Hidden units; 0 for a linear head.
    pub hidden: usize,
    /// Numbers that come out.
    pub output: usize,
    /// L2-normalise the output. A zero output stays zero.
    pub normalise: bool,
}

impl Head {
    /// Floats of parameters: weights and biases of both layers.
    ///
    /// ```
    /// use rivergram_core::head::Head;
    ///
    /// let linear = Head { input: 4, hidden: 0, output: 3, normalise: true };
    /// assert_eq!(linear.parameters_len(), 3 * (4 + 1));
    /// let deep = Head { hidden: 8, ..linear };
    /// assert_eq!(deep.parameters_len(), 8 * (4 + 1) + 3 * (8 + 1));
    /// ```
    pub const fn parameters_len(&self) -> usize {
        if self.hidden == 0 {
            layer_len(self.input, self.output)
        } else {
            layer_len(self.input, self.hidden).saturating_add(layer_len(self.hidden, self.output))
        }
    }

    /// Floats that the backward pass needs from the forward pass of `rows` rows: the hidden activations and one
    /// inverse norm per row.
    ///
    /// ```
    /// use rivergram_core::head::Head;
    ///
    /// let head = Head { input: 4, hidden: 8, output: 3, normalise: true };
    /// assert_eq!(head.cache_len(10), 10 * (8 + 1));
    /// ```
    pub const fn cache_len(&self, rows: usize) -> usize {
        rows.saturating_mul(self.hidden.saturating_add(1))
    }

    /// Floats of scratch for the backward pass of `rows` rows: the gradient of the hidden activations.
    ///
    /// ```
    /// use rivergram_core::head::Head;
    ///
    /// let head = Head { input: 4, hidden: 8, output: 3, normalise: true };
    /// assert_eq!(head.scratch_len(10), 80);
    /// assert_eq!(Head { hidden: 0, ..head }.scratch_len(10), 0);
    /// ```
    pub const fn scratch_len(&self, rows: usize) -> usize {
        rows.saturating_mul(self.hidden)
    }

    /// PyTorch's initialisation of `nn.Linear`: every weight and bias uniform in ±1/√(inputs of its layer).
    /// `uniform(bound)` gives the numbers, in the order of the parameters. Nothing is set where there are fewer.
    /// Cost: one call per parameter.
    ///
    /// ```
    /// use rivergram_core::head::Head;
    ///
    /// let head = Head { input: 4, hidden: 0, output: 2, normalise: true };
    /// let mut parameters = [0.0_f32; 10];
    /// // In place of random numbers: the bound itself, which is 1/√4.
    /// head.initialise(&mut parameters, |bound| bound);
    /// assert_eq!(parameters, [0.5; 10]);
    /// ```
    pub fn initialise<T: Real>(&self, parameters: &mut [T], mut uniform: impl FnMut(T) -> T) {
        let (first, second) = self.split_mut(parameters);
        for (layer, input) in [(first, self.input), (second, self.hidden)] {
            let bound = T::ONE / T::from_usize(input.max(1)).sqrt();
            for weight in layer {
                *weight = uniform(bound);
            }
        }
    }

    /// The outputs `y` \[rows, output\] of the inputs `x` \[rows, input\]; `cache` is for [`Head::backward`]. A row
    /// that holds NaN, or overflows, gives NaN. Where a slice is shorter than that, which rows are written is
    /// unspecified; `parameters` holds [`Head::parameters_len`] floats and `cache` [`Head::cache_len`].
    ///
    /// Cost: 2·rows operations per parameter.
    ///
    /// ```
    /// use rivergram_core::{head::Head, lanes::One};
    ///
    /// let head = Head { input: 2, hidden: 0, output: 2, normalise: true };
    /// let parameters = [3.0_f32, 0.0, 0.0, 4.0, 0.0, 0.0]; // W, then b.
    /// let (mut y, mut cache) = ([0.0; 2], [0.0; 1]);
    /// head.forward(One::new(), &parameters, &[1.0, 1.0], &mut y, &mut cache);
    /// assert!((y[0] - 0.6).abs() < 1e-6 && (y[1] - 0.8).abs() < 1e-6); // (3, 4) / 5
    /// ```
    #[inline(always)]
    pub fn forward<I: Isa>(
        &self,
        isa: I,
        parameters: &[I::Scalar],
        x: &[I::Scalar],
        y: &mut [I::Scalar],
        cache: &mut [I::Scalar],
    ) {
        self.forward_on(isa, parameters, x, y, cache, &mut []);
    }

    /// [`Head::forward`] of inputs that may have to be unpacked into `tile`, [`features::tile_len_of`] floats.
    #[inline(always)]
    pub(crate) fn forward_on<I: Isa, F: Features<I::Scalar>>(
        &self,
        isa: I,
        parameters: &[I::Scalar],
        x: F,
        y: &mut [I::Scalar],
        cache: &mut [I::Scalar],
        tile: &mut [I::Scalar],
    ) {
        isa.enter(Forward {
            head: *self,
            parameters,
            x,
            y,
            cache,
            tile,
        });
    }

    /// Adds to `gradient` the gradient of the parameters, given that of the outputs in `dy` \[rows, output\],
    /// which is overwritten. `x`, `y` and `cache` are those of the forward pass; `gradient` is as long as the
    /// parameters and `scratch` holds [`Head::scratch_len`] floats. The gradient of the inputs is not computed.
    ///
    /// Cost: 4·rows operations per parameter.
    ///
    /// ```
    /// use rivergram_core::{head::Head, lanes::One};
    ///
    /// let head = Head { input: 2, hidden: 0, output: 1, normalise: false };
    /// let (parameters, x) = ([1.0_f32, 2.0, 0.5], [3.0, 4.0]);
    /// let (mut y, mut cache, mut gradient) = ([0.0], [0.0], [0.0; 3]);
    /// head.forward(One::new(), &parameters, &x, &mut y, &mut cache);
    /// assert_eq!(y, [11.5]);
    /// head.backward(One::new(), &parameters, &x, &y, &cache, &mut [1.0], &mut gradient, &mut []);
    /// assert_eq!(gradient, [3.0, 4.0, 1.0]); // dy/dW = x, dy/db = 1
    /// ```
    #[inline(always)]
    pub fn backward<I: Isa>(
        &self,
        isa: I,
        parameters: &[I::Scalar],
        x: &[I::Scalar],
        y: &[I::Scalar],
        cache: &[I::Scalar],
        dy: &mut [I::Scalar],
        gradient: &mut [I::Scalar],
        scratch: &mut [I::Scalar],
    ) {
        self.through_normalisation(isa, y, cache, dy);
        self.add_gradient(isa, parameters, x, cache, dy, gradient, scratch, &mut []);
    }

    /// The first part of [`Head::backward`]: `dy` of the outputs to that of the numbers before normalisation.
    #[inline(always)]
    pub(crate) fn through_normalisation<I: Isa>(
        &self,
        isa: I,
        y: &[I::Scalar],
        cache: &[I::Scalar],
        dy: &mut [I::Scalar],
    ) {
        if !self.normalise {
            return;
        }
        let outputs = y.rows(self.output).zip(dy.rows_mut(self.output));
        for ((y, dy), inverse) in outputs.zip(cache) {
            ops::normalisation_gradient(isa, y, *inverse, dy);
        }
    }

    /// The second part of [`Head::backward`], which leaves `dy` as it is. `tile` is as in [`Head::forward_on`].
    #[inline(always)]
    pub(crate) fn add_gradient<I: Isa, F: Features<I::Scalar>>(
        &self,
        isa: I,
        parameters: &[I::Scalar],
        x: F,
        cache: &[I::Scalar],
        dy: &[I::Scalar],
        gradient: &mut [I::Scalar],
        scratch: &mut [I::Scalar],
        tile: &mut [I::Scalar],
    ) {
        if self.hidden == 0 {
            isa.share(AffineGradient {
                input: self.input,
                output: self.output,
                x,
                dy,
                gradient,
                tile,
            });
            return;
        }
        let rows = self.rows(x);
        let (_, hidden) = split(cache, rows);
        let hidden = hidden
            .get(..rows.saturating_mul(self.hidden))
            .unwrap_or(&[]);
        let (dh, _) = take(scratch, hidden.len());
        let (_, second) = self.split(parameters);
        let (d_first, d_second) = self.split_mut(gradient);
        isa.share(AffineGradient {
            input: self.hidden,
            output: self.output,
            x: hidden,
            dy,
            gradient: d_second,
            tile: &mut [],
        });
        dh.fill(I::Scalar::ZERO);
        let weights = second
            .get(..self.hidden.saturating_mul(self.output))
            .unwrap_or(&[]);
        ops::matmul_nn(isa, self.output, self.hidden, dy, weights, dh);
        rectify_gradient(isa, hidden, dh);
        isa.share(AffineGradient {
            input: self.input,
            output: self.hidden,
            x,
            dy: dh,
            gradient: d_first,
            tile,
        });
    }

    /// No less than the square of what [`Head::add_gradient`] adds: of a linear head
    ///
    /// ```text
    /// |dW|² + |db|² ≤ |dY|²·|X|² + rows·|dY|²
    /// ```
    ///
    /// (Cauchy and Schwarz), which no partial sum exceeds; infinite with a hidden layer. Cost: two passes, over X and dY.
    #[inline(always)]
    pub(crate) fn square_bound<I: Isa, F: Features<I::Scalar>>(
        &self,
        isa: I,
        x: F,
        dy: &[I::Scalar],
    ) -> I::Scalar {
        if self.hidden > 0 {
            return I::Scalar::INFINITY;
        }
        let rows = I::Scalar::from_usize(self.rows(x));
        ops::dot(isa, dy, dy) * (x.square_bound(self.input, isa) + rows)
    }

    /// Itself, where it is linear.
    #[inline(always)]
    pub(crate) fn linear(&self) -> Head {
        Head { hidden: 0, ..*self }
    }

    #[inline(always)]
    fn rows<T, F: Features<T>>(&self, x: F) -> usize {
        x.numbers(self.input)
            .checked_div(self.input)
            .unwrap_or_default()
    }

    /// The first layer, which is all of a linear head, and the second.
    #[inline(always)]
    fn first_len(&self) -> usize {
        let outputs = if self.hidden == 0 {
            self.output
        } else {
            self.hidden
        };
        layer_len(self.input, outputs)
    }

    #[inline(always)]
    fn split<'a, T>(&self, parameters: &'a [T]) -> (&'a [T], &'a [T]) {
        split(parameters, self.first_len())
    }

    #[inline(always)]
    fn split_mut<'a, T>(&self, parameters: &'a mut [T]) -> (&'a mut [T], &'a mut [T]) {
        take(parameters, self.first_len())
    }

    /// Whether inputs and outputs are at least 1; `head` is the index that the error names. Cost: O(1).
    ///
    /// # Errors
    /// [`TrainError::EmptyHead`].
    ///
    /// ```
    /// use rivergram_core::{error::TrainError, head::Head};
    ///
    /// let head = Head { input: 4, hidden: 0, output: 3, normalise: true };
    /// assert_eq!(head.check(0), Ok(()));
    /// assert_eq!(Head { output: 0, ..head }.check(7), Err(TrainError::EmptyHead { head: 7 }));
    /// ```
    pub fn check(&self, head: usize) -> Result<(), TrainError> {
        if self.input == 0 || self.output == 0 {
            return Err(TrainError::EmptyHead { head });
        }
        Ok(())
    }
}

const fn layer_len(input: usize, output: usize) -> usize {
    output.saturating_mul(input.saturating_add(1))
}

/// A head's outputs for a batch.
pub(crate) struct Forward<'a, T, F> {
    pub(crate) head: Head,
    pub(crate) parameters: &'a [T],
    pub(crate) x: F,
    pub(crate) y: &'a mut [T],
    pub(crate) cache: &'a mut [T],
    pub(crate) tile: &'a mut [T],
}

impl<T: Real, F: Features<T>> Kernel<T> for Forward<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let Forward {
            head,
            parameters,
            x,
            y,
            cache,
            tile,
        } = self;
        let rows = head.rows(x);
        let (inverse_norms, hidden) = take(cache, rows);
        if head.hidden == 0 {
            isa.share(Affine {
                layer: parameters,
                input: head.input,
                output: head.output,
                x,
                y,
                tile,
            });
        } else {
            let (hidden, _) = take(hidden, rows.saturating_mul(head.hidden));
            let (first, second) = head.split(parameters);
            isa.share(Affine {
                layer: first,
                input: head.input,
                output: head.hidden,
                x,
                y: hidden,
                tile,
            });
            rectify(isa, hidden);
            isa.share(Affine {
                layer: second,
                input: head.hidden,
                output: head.output,
                x: &*hidden,
                y,
                tile: &mut [],
            });
        }
        if head.normalise {
            for (y, inverse) in y.rows_mut(head.output).zip(inverse_norms) {
                *inverse = ops::inverse_norm(ops::dot(isa, y, y));
                ops::scale(isa, *inverse, y);
            }
        }
    }
}

/// y = W·x + b per row.
struct Affine<'a, T, F> {
    /// W \[output, input\], then b.
    layer: &'a [T],
    input: usize,
    output: usize,
    x: F,
    y: &'a mut [T],
    tile: &'a mut [T],
}

impl<T: Real, F: Features<T>> Kernel<T> for Affine<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let (input, output) = (self.input, self.output);
        let (weights, bias) = split(self.layer, input.saturating_mul(output));
        for row in self.y.rows_mut(output) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y = *b;
            }
        }
        let tiles = self
            .y
            .pieces_mut(features::rows_at_once::<F, T>().saturating_mul(output));
        for (row, y) in firsts::<F, T>().zip(tiles) {
            let x = self.x.read(row, input, self.tile);
            ops::matmul_nt(isa, output, input, x, weights, y);
        }
    }
}

/// Adds dW = dYᵀ·X and db = Σ dY to the gradient of a layer.
struct AffineGradient<'a, T, F> {
    input: usize,
    output: usize,
    x: F,
    dy: &'a [T],
    gradient: &'a mut [T],
    tile: &'a mut [T],
}

impl<T: Real, F: Features<T>> Kernel<T> for AffineGradient<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let (input, output) = (self.input, self.output);
        let (weights, bias) = take(self.gradient, input.saturating_mul(output));
        let tiles = self
            .dy
            .pieces(features::rows_at_once::<F, T>().saturating_mul(output));
        for (row, dy) in firsts::<F, T>().zip(tiles) {
            let x = self.x.read(row, input, self.tile);
            ops::matmul_tn(isa, output, input, dy, x, weights);
        }
        for row in self.dy.rows(output) {
            ops::axpy(isa, T::ONE, row, bias);
        }
    }
}

/// The first rows of the parts of the inputs that are read at once.
#[inline(always)]
fn firsts<F: Features<T>, T>() -> impl Iterator<Item = usize> {
    (0..usize::MAX).step_by(features::rows_at_once::<F, T>())
}

/// max(x, 0); a NaN stays.
#[inline(always)]
fn rectify<I: Isa>(isa: I, x: &mut [I::Scalar]) {
    let zero = isa.splat(I::Scalar::ZERO);
    for x in isa.pieces_mut(x) {
        let value = isa.load(x);
        isa.store(I::Lanes::select(value.less(zero), zero, value), x);
    }
}

/// dx where the unit was active, else 0.
#[inline(always)]
fn rectify_gradient<I: Isa>(isa: I, activation: &[I::Scalar], dx: &mut [I::Scalar]) {
    let zero = isa.splat(I::Scalar::ZERO);
    for (a, dx) in isa.pieces(activation).zip(isa.pieces_mut(dx)) {
        let active = zero.less(isa.load(a));
        isa.store(I::Lanes::select(active, isa.load(dx), zero), dx);
    }
}
