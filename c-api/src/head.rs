//! Heads and optimizers: the pieces of a training step. `trainer` makes whole steps of them.

use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;

use crate::convert::{choose, flag};
use crate::raw::{In, Out, answer, apart, reported};
use crate::status::{
    Failure, check_finite, check_finite_from, check_len, rivergram_error, rivergram_status,
};

/// The sizes of a head: linear, or with one hidden layer, then L2 normalisation.
///
/// Its parameters lie in one array, in the order W1 `[hidden, input]`, b1, W2 `[output, hidden]`, b2, row-major; a
/// linear head has W `[output, input]`, b. `RIVERGRAM_HEAD_LEN` is their number as a constant.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct rivergram_head {
    /// Features that go in.
    pub input: usize,
    /// Hidden units; 0 for a linear head.
    pub hidden: usize,
    /// Numbers that come out.
    pub output: usize,
    /// 1 to L2-normalise the output; else 0.
    pub normalise: u32,
}

/// How parameters are updated.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_optimizer_kind {
    /// With momentum, or without where it is 0.
    Sgd = 0,
    /// arXiv 1711.05101.
    AdamW = 1,
    /// arXiv 2302.06675.
    Lion = 2,
}

/// An optimizer. Start from `rivergram_optimizer_named`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct rivergram_optimizer {
    /// A `rivergram_optimizer_kind`.
    pub kind: u32,
    /// Of SGD, in [0, 1).
    pub momentum: f32,
    /// Of AdamW and Lion, in [0, 1).
    pub beta1: f32,
    /// Of AdamW and Lion, in [0, 1).
    pub beta2: f32,
    /// Of AdamW, positive.
    pub epsilon: f32,
    /// Coupled for SGD, decoupled for the others.
    pub weight_decay: f32,
}

impl rivergram_head {
    pub(crate) fn to_core(self) -> Result<Head, Failure> {
        Ok(Head {
            input: self.input,
            hidden: self.hidden,
            output: self.output,
            normalise: flag(c"normalise", self.normalise)?,
        })
    }
}

impl rivergram_optimizer {
    fn of_core(optimizer: Optimizer<f32>) -> Self {
        let none = rivergram_optimizer {
            kind: rivergram_optimizer_kind::Sgd as u32,
            momentum: 0.0,
            beta1: 0.0,
            beta2: 0.0,
            epsilon: 0.0,
            weight_decay: 0.0,
        };
        match optimizer {
            Optimizer::Sgd {
                momentum,
                weight_decay,
            } => rivergram_optimizer {
                momentum,
                weight_decay,
                ..none
            },
            Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => rivergram_optimizer {
                kind: rivergram_optimizer_kind::AdamW as u32,
                beta1,
                beta2,
                epsilon,
                weight_decay,
                ..none
            },
            Optimizer::Lion {
                beta1,
                beta2,
                weight_decay,
            } => rivergram_optimizer {
                kind: rivergram_optimizer_kind::Lion as u32,
                beta1,
                beta2,
                weight_decay,
                ..none
            },
        }
    }

    pub(crate) fn to_core(self) -> Result<Optimizer<f32>, Failure> {
        let rivergram_optimizer {
            kind,
            momentum,
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = self;
        let sgd = Optimizer::Sgd {
            momentum,
            weight_decay,
        };
        let adamw = Optimizer::AdamW {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        };
        let lion = Optimizer::Lion {
            beta1,
            beta2,
            weight_decay,
        };
        let list = [
            (rivergram_optimizer_kind::Sgd as u32, sgd),
            (rivergram_optimizer_kind::AdamW as u32, adamw),
            (rivergram_optimizer_kind::Lion as u32, lion),
        ];
        choose(c"kind", kind, &list)
    }
}

/// The usual settings of a `rivergram_optimizer_kind`: SGD without momentum, AdamW with 0.9, 0.999, 1e-8 and 0.01,
/// Lion with 0.9 and 0.99.
///
/// Errors: NULL_POINTER, MISALIGNED, OPTION for another kind. Cost: O(1).
///
/// # Safety
/// `optimizer` points to a `rivergram_optimizer`; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_optimizer_named(
    kind: u32,
    optimizer: *mut rivergram_optimizer,
    error: *mut rivergram_error,
) -> rivergram_status {
    let optimizer = Out::one(c"optimizer", optimizer);
    let list = [
        (rivergram_optimizer_kind::Sgd as u32, Optimizer::sgd()),
        (rivergram_optimizer_kind::AdamW as u32, Optimizer::adamw()),
        (rivergram_optimizer_kind::Lion as u32, Optimizer::lion()),
    ];
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        answer(error, || {
            optimizer.span()?;
            let named = choose(c"kind", kind, &list)?;
            optimizer.write(rivergram_optimizer::of_core(named));
            Ok(())
        })
    }
}

/// Lengths that belong to a head and so many rows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct rivergram_head_lens {
    /// Floats of parameters.
    pub parameters: usize,
    /// Floats that the backward pass needs from the forward pass.
    pub cache: usize,
    /// Floats of scratch for the backward pass.
    pub scratch: usize,
}

/// The lengths of a head's buffers for so many rows.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION. Cost: O(1).
///
/// # Safety
/// `head` points to a `rivergram_head`, `lens` to a `rivergram_head_lens`; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_head_lens_of(
    head: *const rivergram_head,
    rows: usize,
    lens: *mut rivergram_head_lens,
    error: *mut rivergram_error,
) -> rivergram_status {
    let (head, lens) = (In::one(c"head", head), Out::one(c"lens", lens));
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[reported(error).span()?, head.span()?, lens.span()?])?;
            let head = head.get()?.to_core()?;
            lens.write(rivergram_head_lens {
                parameters: head.parameters_len(),
                cache: head.cache_len(rows),
                scratch: head.scratch_len(rows),
            });
            Ok(())
        })
    }
}

/// The outputs `y` `[rows, output]` of the inputs `x` `[rows, input]`. `cache` keeps what
/// `rivergram_head_backward` needs; its length and that of the parameters tells `rivergram_head_lens_of`.
///
/// Cost: 2 rows operations per parameter.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_head_forward(
    head: *const rivergram_head,
    parameters: *const f32,
    parameters_len: usize,
    x: *const f32,
    x_len: usize,
    rows: usize,
    y: *mut f32,
    y_len: usize,
    cache: *mut f32,
    cache_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let head = In::one(c"head", head);
    let parameters = In::array(c"parameters", parameters, parameters_len);
    let x = In::array(c"x", x, x_len);
    let y = Out::array(c"y", y, y_len);
    let cache = Out::array(c"cache", cache, cache_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                head.span()?,
                parameters.span()?,
                x.span()?,
                y.span()?,
                cache.span()?,
            ])?;
            let head = head.get()?.to_core()?;
            head.check(0)?;
            check_len(c"parameters", head.parameters_len(), parameters_len)?;
            check_len(c"x", rows.saturating_mul(head.input), x_len)?;
            check_len(c"y", rows.saturating_mul(head.output), y_len)?;
            check_len(c"cache", head.cache_len(rows), cache_len)?;
            let (parameters, x) = (parameters.slice(), x.slice());
            check_finite(c"parameters", parameters)?;
            check_finite(c"x", x)?;
            head.forward(One::new(), parameters, x, y.slice(), cache.slice());
            Ok(())
        })
    }
}

/// Adds to `gradient`, as long as the parameters, their gradient, given that of the outputs in `dy` `[rows, output]`,
/// which is overwritten. `x`, `y` and `cache` are those of the forward pass. The gradient begins as zeros.
///
/// Cost: 4 rows operations per parameter.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_head_backward(
    head: *const rivergram_head,
    parameters: *const f32,
    parameters_len: usize,
    x: *const f32,
    x_len: usize,
    rows: usize,
    y: *const f32,
    y_len: usize,
    cache: *const f32,
    cache_len: usize,
    dy: *mut f32,
    dy_len: usize,
    gradient: *mut f32,
    gradient_len: usize,
    scratch: *mut f32,
    scratch_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let head = In::one(c"head", head);
    let parameters = In::array(c"parameters", parameters, parameters_len);
    let x = In::array(c"x", x, x_len);
    let y = In::array(c"y", y, y_len);
    let cache = In::array(c"cache", cache, cache_len);
    let dy = Out::array(c"dy", dy, dy_len);
    let gradient = Out::array(c"gradient", gradient, gradient_len);
    let scratch = Out::array(c"scratch", scratch, scratch_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                head.span()?,
                parameters.span()?,
                x.span()?,
                y.span()?,
                cache.span()?,
                dy.span()?,
                gradient.span()?,
                scratch.span()?,
            ])?;
            let head = head.get()?.to_core()?;
            head.check(0)?;
            check_len(c"parameters", head.parameters_len(), parameters_len)?;
            check_len(c"gradient", head.parameters_len(), gradient_len)?;
            check_len(c"x", rows.saturating_mul(head.input), x_len)?;
            check_len(c"y", rows.saturating_mul(head.output), y_len)?;
            check_len(c"dy", rows.saturating_mul(head.output), dy_len)?;
            check_len(c"cache", head.cache_len(rows), cache_len)?;
            check_len(c"scratch", head.scratch_len(rows), scratch_len)?;
            let (parameters, x, y) = (parameters.slice(), x.slice(), y.slice());
            let (cache, scratch) = (cache.slice(), scratch.slice());
            let (dy, gradient) = (dy.slice(), gradient.slice());
            let inputs = [
                (c"parameters", parameters),
                (c"x", x),
                (c"y", y),
                (c"dy", dy),
                (c"gradient", gradient),
            ];
            for (name, numbers) in inputs {
                check_finite(name, numbers)?;
            }
            // It begins with a number per row that only a head which normalises writes and reads.
            let unused = if head.normalise { 0 } else { rows };
            check_finite_from(c"cache", unused, cache)?;
            head.backward(One::new(), parameters, x, y, cache, dy, gradient, scratch);
            Ok(())
        })
    }
}

/// Floats of moments that an optimizer keeps for so many parameters: none, as many, or twice as many. They begin
/// as zeros.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION. Cost: O(1).
///
/// # Safety
/// `optimizer` points to a `rivergram_optimizer`, `len` to a `size_t`; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_optimizer_moments_len(
    optimizer: *const rivergram_optimizer,
    parameters_len: usize,
    len: *mut usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let (optimizer, len) = (In::one(c"optimizer", optimizer), Out::one(c"len", len));
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[reported(error).span()?, optimizer.span()?, len.span()?])?;
            len.write(optimizer.get()?.to_core()?.state_len(parameters_len));
            Ok(())
        })
    }
}

/// One update at the rate `rate`; it is the `update`-th, from 1 on.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE. After one nothing has changed.
///
/// Cost: 2 operations per parameter for SGD, 4 with momentum or for Lion, 10 and a square root for AdamW; and a look at
/// every number.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_optimizer_update(
    optimizer: *const rivergram_optimizer,
    rate: f32,
    update: u64,
    parameters: *mut f32,
    parameters_len: usize,
    gradient: *const f32,
    gradient_len: usize,
    moments: *mut f32,
    moments_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let optimizer = In::one(c"optimizer", optimizer);
    let parameters = Out::array(c"parameters", parameters, parameters_len);
    let gradient = In::array(c"gradient", gradient, gradient_len);
    let moments = Out::array(c"moments", moments, moments_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                optimizer.span()?,
                parameters.span()?,
                gradient.span()?,
                moments.span()?,
            ])?;
            let optimizer = optimizer.get()?.to_core()?;
            optimizer.check()?;
            check_len(c"gradient", parameters_len, gradient_len)?;
            check_len(c"moments", optimizer.state_len(parameters_len), moments_len)?;
            check_finite(c"rate", &[rate])?;
            if update == 0 {
                return Err(Failure::option(c"update"));
            }
            let (parameters, gradient, moments) =
                (parameters.slice(), gradient.slice(), moments.slice());
            check_finite(c"parameters", parameters)?;
            check_finite(c"gradient", gradient)?;
            check_finite(c"moments", moments)?;
            optimizer.update(One::new(), rate, update, parameters, gradient, moments);
            Ok(())
        })
    }
}
