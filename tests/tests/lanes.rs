//! The lanes: one body per operation, run at every level of this CPU and compared with `f64`.

use std::path::Path;

use rivergram_core::lanes::{Isa, Lanes};
use rivergram_core::ops::{self, RowOps};
use rivergram_simd::{Kernel, Level, LevelError};
use rivergram_tests::disassembly::functions;

/// Half the distance from 1 to the next larger `f32`: the largest error of one rounding.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// Numbers of both signs, spread evenly over the exponents −range to range.
fn numbers(seed: u64, count: usize, range: f64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        // Knuth's linear congruential generator; its upper bits are good enough.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count)
        .map(|_| {
            let sign = if uniform() < 0.5 { -1.0 } else { 1.0 };
            (sign * (range * (2.0 * uniform() - 1.0)).exp2()) as f32
        })
        .collect()
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Neg,
    MulAdd,
    SubProduct,
    Sqrt,
    Abs,
    Min,
    Max,
    /// c where a < b, else a.
    SelectLess,
    Round,
    Pow2,
    Exponent,
    Mantissa,
    HighHalf,
    Exp,
    ExpOfDifference,
    Ln,
}

/// out = op(a, b, c), a vector at a time, the last one short.
struct Elementwise<'a> {
    op: Op,
    inputs: [&'a [f32]; 3],
    out: &'a mut [f32],
}

impl Kernel<f32> for Elementwise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        let [a, b, c] = self.inputs.map(|x| x.chunks(I::WIDTH));
        for (((a, b), c), out) in a.zip(b).zip(c).zip(self.out.chunks_mut(I::WIDTH)) {
            let (a, b, c) = (isa.load(a), isa.load(b), isa.load(c));
            let value = match self.op {
                Op::Add => a + b,
                Op::Sub => a - b,
                Op::Mul => a * b,
                Op::Div => a / b,
                Op::Neg => -a,
                Op::MulAdd => a.mul_add(b, c),
                Op::SubProduct => c.sub_product(a, b),
                Op::Sqrt => a.sqrt(),
                Op::Abs => a.abs(),
                Op::Min => a.min(b),
                Op::Max => a.max(b),
                Op::SelectLess => I::Lanes::select(a.less(b), c, a),
                Op::Round => a.round(),
                Op::Pow2 => a.pow2(),
                Op::Exponent => a.split().0,
                Op::Mantissa => a.split().1,
                Op::HighHalf => a.high_half(),
                Op::Exp => a.exp(),
                Op::ExpOfDifference => a.exp_of_difference(),
                Op::Ln => a.ln(),
            };
            isa.store(value, out);
        }
    }
}

/// `op` at one level.
fn apply(level: Level, op: Op, a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; a.len()];
    level.run(Elementwise {
        op,
        inputs: [a, b, c],
        out: &mut out,
    });
    out
}

/// `op` of one argument at one level.
fn apply_one(level: Level, op: Op, a: &[f32]) -> Vec<f32> {
    apply(level, op, a, a, a)
}

/// Equal as numbers, or both NaN.
#[track_caller]
fn assert_same(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            got == want || got.is_nan() && want.is_nan(),
            "{what}, number {i}: got {got:e}, want {want:e}"
        );
    }
}

#[test]
fn arithmetic_rounds_as_one_number_does() {
    type Formula = fn(f64, f64, f64) -> f64;
    let formulas: [(Op, Formula); 9] = [
        (Op::Add, |a, b, _| a + b),
        (Op::Sub, |a, b, _| a - b),
        (Op::Mul, |a, b, _| a * b),
        (Op::Div, |a, b, _| a / b),
        (Op::Neg, |a, _, _| -a),
        (Op::Abs, |a, _, _| a.abs()),
        (Op::Min, |a, b, _| if b < a { b } else { a }),
        (Op::Max, |a, b, _| if a < b { b } else { a }),
        (Op::SelectLess, |a, b, c| if a < b { c } else { a }),
    ];
    let [a, b, c] = [1, 2, 3].map(|seed| numbers(seed, 1003, 30.0));
    for level in Level::available() {
        for (op, formula) in formulas {
            let got = apply(level, op, &a, &b, &c);
            // f64 has more than twice the bits: rounding its result once more changes nothing.
            let want: Vec<f32> = (0..a.len())
                .map(|i| formula(a[i].into(), b[i].into(), c[i].into()) as f32)
                .collect();
            assert_same(&format!("{level} {op:?}"), &got, &want);
        }
        let positive: Vec<f32> = a.iter().map(|x| x.abs()).chain([0.0]).collect();
        let want: Vec<f32> = positive
            .iter()
            .map(|&x| f64::from(x).sqrt() as f32)
            .collect();
        let got = apply_one(level, Op::Sqrt, &positive);
        assert_same(&format!("{level} sqrt"), &got, &want);
    }
}

#[test]
fn nothing_is_less_than_nan() {
    let nan = [f32::NAN, 1.0, f32::NAN, 2.0, 1.0];
    let (ones, sevens) = ([1.0; 5], [7.0; 5]);
    for level in Level::available() {
        let got = apply(level, Op::SelectLess, &nan, &ones, &sevens);
        assert_same(&format!("{level} NaN left"), &got, &nan);
        let got = apply(level, Op::SelectLess, &ones, &nan, &sevens);
        let want = [1.0, 1.0, 1.0, 7.0, 1.0];
        assert_same(&format!("{level} NaN right"), &got, &want);
    }
}

#[test]
fn mul_add_rounds_once_or_twice() {
    let [a, b, c] = [4, 5, 6].map(|seed| numbers(seed, 1003, 10.0));
    for level in Level::available() {
        let got = apply(level, Op::MulAdd, &a, &b, &c);
        for i in 0..a.len() {
            let product = f64::from(a[i]) * f64::from(b[i]);
            let want = product + f64::from(c[i]);
            let error = (f64::from(got[i]) - want).abs();
            let bound = ROUNDING * (product.abs() + want.abs()) * (1.0 + 1e-6);
            assert!(
                error <= bound,
                "{level} number {i}: error {error:e}, bound {bound:e}"
            );
        }
    }
}

#[test]
fn sub_product_survives_cancellation() {
    let [s, b, d] = [7, 8, 9].map(|seed| numbers(seed, 4001, 6.0));
    let product = |i: usize| f64::from(s[i]) * f64::from(b[i]);
    // x is within 1e-6, then within a factor of two, of s·b.
    for closeness in [1e-6, 0.5] {
        let x: Vec<f32> = (0..s.len())
            .map(|i| (product(i) * (1.0 + closeness * f64::from(d[i]) / 64.0)) as f32)
            .collect();
        for level in Level::available() {
            let got = apply(level, Op::SubProduct, &s, &b, &x);
            let mut worst = 0.0_f64;
            for i in 0..s.len() {
                // Exact: the product has 48 bits, and so has the difference of two so close.
                let want = f64::from(x[i]) - product(i);
                let error = (f64::from(got[i]) - want).abs();
                assert!(
                    error <= 1e-6 * want.abs(),
                    "{level} number {i}: got {:e}, want {want:e}",
                    got[i]
                );
                worst = worst.max(error / want.abs().max(f64::MIN_POSITIVE));
            }
            println!("{level} sub_product within {closeness:e}: {worst:.2e} relative");
        }
    }
    // Far apart it is an ordinary difference.
    let x = numbers(10, s.len(), 12.0);
    for level in Level::available() {
        let got = apply(level, Op::SubProduct, &s, &b, &x);
        for i in 0..s.len() {
            let x = f64::from(x[i]);
            let error = (f64::from(got[i]) - (x - product(i))).abs();
            let size = x.abs().max(product(i).abs());
            assert!(error <= 3.0 * ROUNDING * size, "{level} number {i}");
        }
    }
}

#[test]
fn round_goes_to_the_nearest_even_integer() {
    let mut x = numbers(11, 4001, 22.0);
    x.extend([0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.499_999_97]);
    x.extend([4_194_303.0, 4_194_302.5]);
    let want: Vec<f32> = x.iter().map(|x| x.round_ties_even()).collect();
    for level in Level::available() {
        let got = apply_one(level, Op::Round, &x);
        assert_same(&format!("{level} round"), &got, &want);
    }
}

#[test]
fn pow2_and_split_are_exact() {
    let root = core::f32::consts::FRAC_1_SQRT_2;
    let mut x: Vec<f32> = numbers(12, 4001, 126.0).iter().map(|x| x.abs()).collect();
    x.extend([1.0, root, root.next_down(), f32::MIN_POSITIVE, f32::MAX]);
    x.extend([2.0 * root, (2.0 * root).next_down()]);
    let exponents: Vec<f32> = (-126_i16..=127).map(f32::from).collect();
    let powers: Vec<f32> = exponents.iter().map(|x| x.exp2()).collect();
    for level in Level::available() {
        let got = apply_one(level, Op::Pow2, &exponents);
        assert_same(&format!("{level} pow2"), &got, &powers);

        let exponent = apply_one(level, Op::Exponent, &x);
        let mantissa = apply_one(level, Op::Mantissa, &x);
        for i in 0..x.len() {
            let (e, m) = (exponent[i], mantissa[i]);
            let product = f64::from(m) * f64::from(e).exp2();
            assert_eq!(product, f64::from(x[i]), "{level}");
            assert!((root..2.0 * root).contains(&m), "{level} mantissa {m}");
        }
    }
}

#[test]
fn high_half_keeps_twelve_bits() {
    let x = numbers(21, 4001, 60.0);
    for level in Level::available() {
        for (x, high) in x.iter().zip(apply_one(level, Op::HighHalf, &x)) {
            assert_eq!(high.to_bits() & 0xfff, 0, "{level} {x}");
            let low = f64::from(*x) - f64::from(high);
            assert!(low.abs() <= f64::from(x.abs()) / 4096.0, "{level} {x}");
        }
    }
}

/// The error in units of the spacing of `f32` at `want`.
fn ulps(got: f32, want: f64) -> f64 {
    let size = (want as f32).abs();
    let spacing = f64::from(size.next_up()) - f64::from(size);
    (f64::from(got) - want).abs() / spacing
}

/// The largest error of `op` over `x`, at every level, is at most `cap` units.
#[track_caller]
fn assert_ulps(op: Op, x: &[f32], formula: fn(f64) -> f64, cap: f64) {
    for level in Level::available() {
        let (mut worst, mut at) = (0.0, 0.0);
        for (got, &x) in apply_one(level, op, x).iter().zip(x) {
            let error = ulps(*got, formula(x.into()));
            if error.is_nan() || error > worst {
                (worst, at) = (error, x);
            }
        }
        println!("{level} {op:?}: {worst:.3} ulp at {at:e}");
        assert!(worst <= cap, "{level} {op:?}: {worst:.3} ulp at {at:e}");
    }
}

#[test]
fn exp_and_ln_are_accurate() {
    let count = 400_000;
    let wide: Vec<f32> = (0..count)
        .map(|i| -87.3 + 176.0 * (i as f32 / count as f32))
        .collect();
    let small: Vec<f32> = numbers(13, 20_000, 20.0).iter().map(|x| x / 1e6).collect();
    assert_ulps(Op::Exp, &wide, f64::exp, 1.5);
    assert_ulps(Op::Exp, &small, f64::exp, 1.5);
    let wide: Vec<f32> = numbers(14, count, 125.0).iter().map(|x| x.abs()).collect();
    let near_one: Vec<f32> = (0..count).map(|i| 0.5 + i as f32 * 4e-6).collect();
    assert_ulps(Op::Ln, &wide, f64::ln, 1.5);
    assert_ulps(Op::Ln, &near_one, f64::ln, 1.5);
}

#[test]
fn exp_and_ln_of_special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [0.0, -0.0, inf, -inf, nan, 89.0, -88.0, f32::MAX, f32::MIN];
    let exp = [1.0, 1.0, inf, 0.0, nan, inf, 0.0, inf, 0.0];
    let y = [0.0, -0.0, 1.0, inf, -1.0, -inf, nan, 1e-40, -1e-40];
    let ln = [-inf, -inf, 0.0, inf, nan, nan, nan, -inf, nan];
    for level in Level::available() {
        let got = apply_one(level, Op::Exp, &x);
        assert_same(&format!("{level} exp"), &got, &exp);
        let got = apply_one(level, Op::Ln, &y);
        assert_same(&format!("{level} ln"), &got, &ln);
    }
}

#[test]
fn exp_of_a_difference_is_exp_bit_for_bit() {
    let count = 400_000;
    let mut x: Vec<f32> = (0..count)
        .map(|i| -100.0 * (i as f32 / count as f32))
        .collect();
    x.extend(numbers(15, 20_000, 20.0).iter().map(|x| -x.abs() / 1e6));
    x.extend([0.0, -0.0, -87.3, -87.300_01, -1e9, f32::MIN, -f32::INFINITY]);
    for level in Level::available() {
        let want = apply_one(level, Op::Exp, &x);
        let got = apply_one(level, Op::ExpOfDifference, &x);
        assert_same(&format!("{level}"), &got, &want);
        assert!(apply_one(level, Op::ExpOfDifference, &[f32::NAN])[0].is_nan());
    }
}

/// Loads from `from`, adds 1, stores to `to`.
struct Short<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

/// What [`Short`] saw in the vector that it loaded.
struct Seen {
    width: usize,
    sum: f32,
    maximum: f32,
    any_below_zero: bool,
}

impl Kernel<f32> for Short<'_> {
    type Output = Seen;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Seen {
        let value = isa.load(self.from);
        isa.store(value + isa.splat(1.0), self.to);
        Seen {
            width: I::WIDTH,
            sum: value.sum(),
            maximum: value.maximum(),
            any_below_zero: I::Lanes::any(value.less(value.isa().splat(0.0))),
        }
    }
}

#[test]
fn short_slices_load_zeros_and_store_no_further() {
    let x: Vec<f32> = (0..12).map(|i| (i - 3) as f32).collect();
    for level in Level::available() {
        for length in 0..x.len() {
            let what = format!("{level} length {length}");
            let from = &x[..length];
            let (mut short, mut long) = ([100.0; 12], [100.0; 12]);
            let seen = level.run(Short {
                from,
                to: &mut short[..length],
            });
            level.run(Short {
                from,
                to: &mut long,
            });
            let filled = length.min(seen.width);
            let mut lanes = x[..filled].to_vec();
            lanes.resize(seen.width, 0.0);
            for i in 0..12 {
                let stored = lanes.get(i).map_or(100.0, |x| x + 1.0);
                assert_eq!(long[i], stored, "{what}");
                let stored = if i < filled { stored } else { 100.0 };
                assert_eq!(short[i], stored, "{what}");
            }
            assert_eq!(seen.sum, lanes.iter().sum::<f32>(), "{what}");
            let maximum = lanes.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(seen.maximum, maximum, "{what}");
            assert_eq!(seen.any_below_zero, filled > 0, "{what}");
        }
    }
}

#[test]
fn any_and_maximum_see_every_lane() {
    for level in Level::available() {
        for place in 0..8 {
            let (mut low, mut high) = ([1.0; 8], [1.0; 8]);
            (low[place], high[place]) = (-1.0, 2.0);
            let look = |from| level.run(Short { from, to: &mut [] });
            let (low, high) = (look(&low), look(&high));
            let inside = place < low.width;
            assert_eq!(low.any_below_zero, inside, "{level} lane {place}");
            assert_eq!(high.maximum == 2.0, inside, "{level} lane {place}");
        }
    }
}

/// dot, axpy, scale and sub_product of rows; the last three write over their own copies.
struct Rows<'a> {
    x: &'a [f32],
    y: &'a [f32],
    alpha: f32,
    axpy: &'a mut [f32],
    scale: &'a mut [f32],
    sub_product: &'a mut [f32],
}

impl Kernel<f32> for Rows<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(mut self, isa: I) -> f32 {
        ops::axpy(isa, self.alpha, self.x, self.axpy);
        ops::scale(isa, self.alpha, self.scale);
        RowOps::sub_product(isa, self.x, self.alpha, self.y, &mut self.sub_product);
        ops::dot(isa, self.x, self.y)
    }
}

#[test]
fn rows_of_every_length() {
    let [x, y] = [15, 16].map(|seed| numbers(seed, 140, 4.0));
    let alpha = 0.3_f32;
    for level in Level::available() {
        for length in (0..=40).chain([63, 64, 65, 100, 127, 128, 140]) {
            let (x, y) = (&x[..length], &y[..length]);
            let mut out = [y.to_vec(), y.to_vec(), y.to_vec()];
            let [axpy, scale, sub_product] = &mut out;
            let dot = level.run(Rows {
                x,
                y,
                alpha,
                axpy,
                scale,
                sub_product,
            });
            let what = format!("{level} length {length}");
            let products = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y));
            let size: f64 = products.clone().map(f64::abs).sum();
            let error = (f64::from(dot) - products.sum::<f64>()).abs();
            assert!(error <= length as f64 * ROUNDING * size, "{what} dot");
            for i in 0..length {
                let (x, y, alpha) = (f64::from(x[i]), f64::from(y[i]), f64::from(alpha));
                for (got, want, size) in [
                    (out[0][i], alpha * x + y, (alpha * x).abs() + y.abs()),
                    (out[1][i], alpha * y, (alpha * y).abs()),
                    (out[2][i], x - alpha * y, (alpha * y).abs() + x.abs()),
                ] {
                    let error = (f64::from(got) - want).abs();
                    assert!(error <= 2.0 * ROUNDING * size, "{what} number {i}");
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Product {
    Nt,
    Nn,
    Tn,
}

/// C += a product of A and B.
struct Matmul<'a> {
    product: Product,
    m: usize,
    k: usize,
    a: &'a [f32],
    b: &'a [f32],
    c: &'a mut [f32],
}

impl Kernel<f32> for Matmul<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        let Matmul { m, k, a, b, c, .. } = self;
        match self.product {
            Product::Nt => ops::matmul_nt(isa, m, k, a, b, c),
            Product::Nn => ops::matmul_nn(isa, m, k, a, b, c),
            Product::Tn => ops::matmul_tn(isa, m, k, a, b, c),
        }
    }
}

/// Compares a product with its definition: C\[r, c\] += Σₜ left(r, t) · right(t, c).
fn check_product(product: Product, n: usize, m: usize, k: usize) {
    let (rows, columns, inner) = match product {
        Product::Nt => (n, m, k),
        Product::Nn => (n, k, m),
        Product::Tn => (m, k, n),
    };
    let a = numbers(17, rows * inner, 2.0);
    let b = numbers(18, inner * columns, 2.0);
    let before = numbers(19, rows * columns, 2.0);
    let factors = |row: usize, t: usize, column: usize| match product {
        Product::Nt => (a[row * k + t], b[column * k + t]),
        Product::Nn => (a[row * m + t], b[t * k + column]),
        Product::Tn => (a[t * m + row], b[t * k + column]),
    };
    for level in Level::available() {
        let mut c = before.clone();
        level.run(Matmul {
            product,
            m,
            k,
            a: &a,
            b: &b,
            c: &mut c,
        });
        for row in 0..rows {
            for column in 0..columns {
                let at = row * columns + column;
                let mut want = f64::from(before[at]);
                let mut size = want.abs();
                for t in 0..inner {
                    let (a, b) = factors(row, t, column);
                    want += f64::from(a) * f64::from(b);
                    size += (f64::from(a) * f64::from(b)).abs();
                }
                let error = (f64::from(c[at]) - want).abs();
                assert!(
                    error <= (inner as f64 + 1.0) * ROUNDING * size,
                    "{level} {product:?} n {n} m {m} k {k}, row {row} column {column}: \
                     got {}, want {want}",
                    c[at]
                );
            }
        }
    }
}

#[test]
fn products_of_every_size() {
    for product in [Product::Nt, Product::Nn, Product::Tn] {
        for n in 0..=9 {
            for m in 0..=9 {
                for k in [0, 1, 2, 3, 4, 7, 8, 9, 16, 17, 35] {
                    check_product(product, n, m, k);
                }
            }
        }
        check_product(product, 64, 33, 40);
    }
}

#[test]
fn products_of_slices_that_do_not_fit_do_not_panic() {
    let x = numbers(20, 64, 1.0);
    let sizes = [0, 1, 3, 5, usize::MAX / 2, usize::MAX];
    for level in Level::available() {
        for product in [Product::Nt, Product::Nn, Product::Tn] {
            for (m, k) in sizes.iter().flat_map(|&m| sizes.map(|k| (m, k))) {
                for (a, b, c) in [(0, 64, 64), (64, 0, 9), (64, 64, 0), (7, 11, 13)] {
                    level.run(Matmul {
                        product,
                        m,
                        k,
                        a: &x[..a],
                        b: &x[..b],
                        c: &mut vec![0.0; c],
                    });
                }
            }
        }
    }
}

#[test]
fn levels_have_names() {
    let available: Vec<Level> = Level::available().collect();
    assert_eq!(available.first(), Some(&Level::SCALAR));
    assert_eq!(available.last(), Some(&Level::detect()));
    assert!(available.contains(&Level::compiled()));
    for level in available {
        assert!(Level::NAMES.contains(&level.name()));
        assert_eq!(Level::named(level.name()), Ok(level));
        assert_eq!(level.to_string(), level.name());
    }
}

#[test]
fn a_level_that_is_not_there_says_why() {
    assert_eq!(Level::named("AVX2"), Err(LevelError::Unknown));
    assert_eq!(LevelError::Unknown.to_string(), "no such path");
    let foreign = match cfg!(target_arch = "aarch64") {
        true => "sse2",
        false => "neon",
    };
    let error = Level::named(foreign).expect_err("another target's");
    assert!(matches!(error, LevelError::NotInBuild { .. }));
    assert!(error.to_string().starts_with("needs a"), "{error}");
    let needs = "AVX2, FMA and F16C";
    let error = LevelError::NotOnCpu { needs };
    assert_eq!(
        error.to_string(),
        "this CPU does not have AVX2, FMA and F16C"
    );
}

/// Below a `#[target_feature]` entry everything must be inlined: a function that is not would be
/// compiled without the features, and each of its intrinsics would be a call.
#[test]
fn an_avx2_kernel_is_one_function_of_fused_instructions() {
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: this target has no AVX2");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
    let functions = functions(&folder, "similarity");
    let mut kernels = functions.iter().filter(|f| f.name.contains(ENTRY));
    let kernel = kernels.next().expect("a kernel");
    assert!(kernels.next().is_none(), "more than one kernel");
    let body = &kernel.body;
    assert!(body.contains("vfmadd"), "no fused multiply-add in\n{body}");
    let callees: Vec<&str> = kernel.callees().collect();
    assert!(callees.is_empty(), "{callees:?} in\n{body}");
}

/// The function below which the features are on.
const ENTRY: &str = "run_avx2";

/// Of all operations: no intrinsic is a call, and every kernel that computes is fused.
#[test]
fn every_operation_is_inlined_below_its_avx2_entry() {
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: this target has no AVX2");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
    let functions = functions(&folder, "paths");
    // The standard library asks the CPU with an intrinsic of its own.
    for function in functions.iter().filter(|f| !f.name.contains("std_detect")) {
        let name = &function.name;
        for callee in function.callees() {
            assert!(!callee.contains("core_arch"), "{name} calls {callee}");
        }
    }
    let mut fused = 0;
    for kernel in functions.iter().filter(|f| f.name.contains(ENTRY)) {
        let has = |instruction| kernel.body.contains(instruction);
        if has("vfmadd") {
            fused += 1;
        } else {
            // What is left only enters another kernel, moves numbers or adds them up: there is no product to fuse.
            let computes = ["mulps", "mulss"].into_iter().any(has);
            assert!(!computes, "no fused multiply-add in\n{}", kernel.body);
        }
    }
    // Losses, InfoNCE, volume matrix, volume, its gradient, Gram matrix, head, product, two steps.
    assert!(fused >= 11, "only {fused} kernels are there");
}
