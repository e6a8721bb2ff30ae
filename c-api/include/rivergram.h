/* rivergram: Gramian volumes, edit-invariant sequence losses, WSD-S schedules and training of small heads.
 *
 * C11 and C++. Memory is the caller's: nothing is allocated, and no function keeps anything outside of it. Functions
 * may be called from several threads at once, as long as these write to different memory.
 *
 * A pointer to an array is followed by the number of its elements, but for arrays of a batch and lists of inputs, which
 * say how long they are. Every function that takes pointers returns a rivergram_status. NULL, misaligned pointers,
 * lengths that do not fit the sizes, overlap with what is written, and numbers that are not finite are errors. A last
 * argument `error` says more; it may be NULL, and it overlaps with no other argument.
 *
 * Arrays of several dimensions are written [rows, columns] and lie row after row.
 *
 * This file is made from the Rust sources; do not edit it.
 */

#ifndef RIVERGRAM_H
#define RIVERGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In `rivergram_error.index`, `rivergram_gram_options.anchor` and `rivergram_position.budget`: there is none. */
#define RIVERGRAM_NONE SIZE_MAX

/**
 * The most orders of a loss, fixed ones and ones relative to the output length each.
 */
#define RIVERGRAM_ORDERS_MAX 8

/**
 * The version of the functions and types of this header. It changes where a program that was compiled with an
 * older header would no longer work with the library; new functions leave it alone.
 */
#define RIVERGRAM_ABI_VERSION 1

/**
 * The most heads of a trainer.
 */
#define RIVERGRAM_HEADS_MAX 8

/**
 * Bytes of a `rivergram_wsds`, the same on every machine.
 */
#define RIVERGRAM_WSDS_SIZE 192

/**
 * The same in words of 64 bits.
 */
#define RIVERGRAM_WSDS_WORDS 24

/**
 * Bytes that `rivergram_wsds_save` writes.
 */
#define RIVERGRAM_WSDS_SAVED_LEN 88

/**
 * In `rivergram_position.remaining`: the phase does not end.
 */
#define RIVERGRAM_WITHOUT_END UINT64_MAX

/**
 * How a call ended. A value never changes its meaning; new ones may be added at the end.
 */
typedef uint32_t rivergram_status;
enum {
    /**
     * It did what it says.
     */
    RIVERGRAM_STATUS_OK = 0,
    /**
     * A pointer is NULL that must not be.
     */
    RIVERGRAM_STATUS_NULL_POINTER = 1,
    /**
     * A pointer is not aligned for its type.
     */
    RIVERGRAM_STATUS_MISALIGNED = 2,
    /**
     * An argument that is written overlaps with another argument; `name` is the one that is written.
     */
    RIVERGRAM_STATUS_OVERLAP = 3,
    /**
     * A buffer has `have` elements where `need` are needed; of `heads`, `inputs`, `orders` and `from_length` at most
     * `need` are taken.
     */
    RIVERGRAM_STATUS_LENGTH = 4,
    /**
     * A size is 0, or a product of sizes is too large.
     */
    RIVERGRAM_STATUS_SIZE = 5,
    /**
     * An option or a number is outside of its range; `name` is the option.
     */
    RIVERGRAM_STATUS_OPTION = 6,
    /**
     * A number is NaN, infinite or too large to square. `index`: modality and row of a vector; row, position and
     * token of a sequence; else the place in the array.
     */
    RIVERGRAM_STATUS_NOT_FINITE = 7,
    /**
     * A vector is zero where `zero_rows` calls that an error. `index`: modality, row.
     */
    RIVERGRAM_STATUS_ZERO_ROW = 8,
    /**
     * A label is no token of the vocabulary. `index`: row, target; `have`: the label, as `int64_t`.
     */
    RIVERGRAM_STATUS_TOKEN = 9,
    /**
     * A row says that it is longer than it can be. `index`: row; `have`: its length.
     */
    RIVERGRAM_STATUS_ROW_LENGTH = 10,
    /**
     * Every token of a position has the logit -infinity. `index`: row, position.
     */
    RIVERGRAM_STATUS_NO_PROBABILITY = 11,
    /**
     * A head does not fit the others, the inputs or the loss. `index`: the head.
     */
    RIVERGRAM_STATUS_HEAD = 12,
    /**
     * Loss or gradient are not finite, and no update was made. `have`: updates made so far.
     */
    RIVERGRAM_STATUS_DIVERGED = 13,
    /**
     * A budget does not lie above the one before, or is larger than 2^63. `index`: its place.
     */
    RIVERGRAM_STATUS_BUDGET = 14,
    /**
     * A warmup of `need` steps does not end before the decay of a budget, which begins after `have` steps.
     * `index`: its place.
     */
    RIVERGRAM_STATUS_WARMUP = 15,
    /**
     * Memory that holds no state: never initialised, overwritten, or of another version.
     */
    RIVERGRAM_STATUS_NOT_A_STATE = 16,
    /**
     * Saved bytes that end too early.
     */
    RIVERGRAM_STATUS_TRUNCATED = 17,
    /**
     * Bytes that are not a saved state of this kind.
     */
    RIVERGRAM_STATUS_NOT_SAVED = 18,
    /**
     * Saved bytes of another format version, `have`, where `need` is read.
     */
    RIVERGRAM_STATUS_FORMAT_VERSION = 19,
    /**
     * Saved bytes that were damaged.
     */
    RIVERGRAM_STATUS_CHECKSUM = 20,
    /**
     * Saved under other settings; `name` says which.
     */
    RIVERGRAM_STATUS_OTHER_SETTINGS = 21,
    /**
     * A saved phase that the settings cannot have at the saved step, `have`.
     */
    RIVERGRAM_STATUS_PHASE = 22,
    /**
     * The header is of version `have`, the library of version `need`.
     */
    RIVERGRAM_STATUS_ABI_VERSION = 23,
    /**
     * Refused for a reason that this version has no name for.
     */
    RIVERGRAM_STATUS_REFUSED = 24,
};

/**
 * What follows the last budget.
 */
typedef uint32_t rivergram_after;
enum {
    /**
     * The floor.
     */
    RIVERGRAM_AFTER_FLOOR = 0,
    /**
     * The peak again.
     */
    RIVERGRAM_AFTER_STABLE = 1,
};

/**
 * Which average of the weights.
 */
typedef uint32_t rivergram_average_kind;
enum {
    /**
     * Exponential: the older an update, the less it counts. The first sets it.
     */
    RIVERGRAM_AVERAGE_KIND_EMA = 0,
    /**
     * Of all updates, each alike.
     */
    RIVERGRAM_AVERAGE_KIND_MEAN = 1,
    /**
     * Of the latest `copies` copies, one every `every` updates (LAWA, arXiv 2306.03241).
     */
    RIVERGRAM_AVERAGE_KIND_LAWA = 2,
};

/**
 * Over which places the selection runs.
 */
typedef uint32_t rivergram_axis;
enum {
    /**
     * Over output positions, as in the paper.
     */
    RIVERGRAM_AXIS_POSITIONS = 0,
    /**
     * Over target n-grams.
     */
    RIVERGRAM_AXIS_TARGETS = 1,
};

/**
 * The length of the decay before a budget; `decay_amount` belongs to it.
 */
typedef uint32_t rivergram_decay;
enum {
    /**
     * So many millionths of the whole budget.
     */
    RIVERGRAM_DECAY_OF_TOTAL = 0,
    /**
     * So many millionths of the steps since the budget before it.
     */
    RIVERGRAM_DECAY_OF_SEGMENT = 1,
    /**
     * So many steps; 0 is no decay.
     */
    RIVERGRAM_DECAY_STEPS = 2,
    /**
     * All steps after the warmup.
     */
    RIVERGRAM_DECAY_WHOLE = 3,
};

/**
 * The progress at step k = 0 .. D-1 of a decay of D steps.
 */
typedef uint32_t rivergram_decay_edge;
enum {
    /**
     * k / D.
     */
    RIVERGRAM_DECAY_EDGE_REACH_AFTER = 0,
    /**
     * (k+1) / D.
     */
    RIVERGRAM_DECAY_EDGE_REACH_LAST = 1,
    /**
     * (k+1) / (D+1).
     */
    RIVERGRAM_DECAY_EDGE_N_PLUS_ONE = 2,
    /**
     * k / (D-1).
     */
    RIVERGRAM_DECAY_EDGE_BOTH = 3,
};

/**
 * What `x` holds.
 */
typedef uint32_t rivergram_input;
enum {
    /**
     * Any numbers: a softmax is part of the loss.
     */
    RIVERGRAM_INPUT_LOGITS = 0,
    /**
     * Log-probabilities, normalised by the caller.
     */
    RIVERGRAM_INPUT_LOG_PROBS = 1,
};

/**
 * What is measured of n-grams.
 */
typedef uint32_t rivergram_objective;
enum {
    /**
     * The edit-invariant loss of arXiv 2106.15078.
     */
    RIVERGRAM_OBJECTIVE_EDIT_INVARIANT = 0,
    /**
     * The distance of bags of n-grams of arXiv 1911.09320; it uses no selection, temperature, axis or noise.
     */
    RIVERGRAM_OBJECTIVE_BAG_OF_NGRAMS = 1,
};

/**
 * How parameters are updated.
 */
typedef uint32_t rivergram_optimizer_kind;
enum {
    /**
     * With momentum, or without where it is 0.
     */
    RIVERGRAM_OPTIMIZER_KIND_SGD = 0,
    /**
     * arXiv 1711.05101.
     */
    RIVERGRAM_OPTIMIZER_KIND_ADAM_W = 1,
    /**
     * arXiv 2302.06675.
     */
    RIVERGRAM_OPTIMIZER_KIND_LION = 2,
};

/**
 * What becomes of padding in the n-gram part.
 */
typedef uint32_t rivergram_padding;
enum {
    /**
     * A row uses its own outputs and targets only.
     */
    RIVERGRAM_PADDING_MASK = 0,
    /**
     * Pads score 0 at every position; nothing is shortened.
     */
    RIVERGRAM_PADDING_ZERO = 1,
    /**
     * Pads are ordinary tokens.
     */
    RIVERGRAM_PADDING_NONE = 2,
};

/**
 * A part of the schedule.
 */
typedef uint32_t rivergram_phase;
enum {
    /**
     * The first rise to the peak.
     */
    RIVERGRAM_PHASE_WARMUP = 0,
    /**
     * Between warmup and decay.
     */
    RIVERGRAM_PHASE_STABLE = 1,
    /**
     * On the way to the floor.
     */
    RIVERGRAM_PHASE_DECAY = 2,
    /**
     * A later rise to the peak.
     */
    RIVERGRAM_PHASE_REWARMUP = 3,
    /**
     * After the last budget, at the floor.
     */
    RIVERGRAM_PHASE_DONE = 4,
};

/**
 * The schedules that have a name.
 */
typedef uint32_t rivergram_schedule;
enum {
    /**
     * arXiv 2410.05192: no warmup, the inverse-proportional decay over the last tenth of each budget, straight
     * back to the peak after it, the floor after the last. With one budget: WSD.
     */
    RIVERGRAM_SCHEDULE_WSD_S = 0,
    /**
     * Half a cosine from the warmup to each budget.
     */
    RIVERGRAM_SCHEDULE_COSINE = 1,
    /**
     * A straight line from the warmup to each budget.
     */
    RIVERGRAM_SCHEDULE_LINEAR = 2,
    /**
     * The peak for ever; `floor` is not used.
     */
    RIVERGRAM_SCHEDULE_CONSTANT = 3,
    /**
     * peak * sqrt(warmup / step), never below the floor.
     */
    RIVERGRAM_SCHEDULE_INVERSE_SQRT = 4,
};

/**
 * How the loss of a target n-gram is made from its scores at all output positions.
 */
typedef uint32_t rivergram_select;
enum {
    /**
     * The softmax over positions, the gradient flowing through it: the paper's.
     */
    RIVERGRAM_SELECT_SOFTMAX = 0,
    /**
     * The same value, the softmax held constant in the gradient.
     */
    RIVERGRAM_SELECT_DETACHED = 1,
    /**
     * The exact log of the expected number of matches.
     */
    RIVERGRAM_SELECT_LOG_SUM_EXP = 2,
    /**
     * The mean over positions.
     */
    RIVERGRAM_SELECT_MEAN = 3,
    /**
     * The best position; of equals the first.
     */
    RIVERGRAM_SELECT_MAX = 4,
};

/**
 * The shape of a decay with progress p from the peak P to the floor F.
 */
typedef uint32_t rivergram_shape;
enum {
    /**
     * F + (P-F)(1-p).
     */
    RIVERGRAM_SHAPE_LINEAR = 0,
    /**
     * F + (P-F)(1 + cos(pi p))/2.
     */
    RIVERGRAM_SHAPE_COSINE = 1,
    /**
     * F + (P-F)(1 - sqrt(p)).
     */
    RIVERGRAM_SHAPE_ONE_MINUS_SQRT = 2,
    /**
     * F + (P-F)(1 - p^2).
     */
    RIVERGRAM_SHAPE_ONE_MINUS_SQUARE = 3,
    /**
     * F + (P-F)(1-p)^a, a = `shape_parameter`.
     */
    RIVERGRAM_SHAPE_POLYNOMIAL = 4,
    /**
     * P (F/P)^p, F > 0.
     */
    RIVERGRAM_SHAPE_GEOMETRIC = 5,
    /**
     * max(F, P 2^(-h p)), h = `shape_parameter`.
     */
    RIVERGRAM_SHAPE_HALF_LIFE = 6,
    /**
     * F + (P-F)(2 2^-p - 1).
     */
    RIVERGRAM_SHAPE_EXPONENTIAL = 7,
    /**
     * 1 / (p/F + (1-p)/P), F > 0: that of WSD-S.
     */
    RIVERGRAM_SHAPE_INVERSE_PROPORTIONAL = 8,
    /**
     * 1 / (p/sqrt(F) + (1-p)/sqrt(P))^2, F > 0.
     */
    RIVERGRAM_SHAPE_INVERSE_SQRT = 9,
};

/**
 * The rate between warmup and decay.
 */
typedef uint32_t rivergram_stable;
enum {
    /**
     * The peak.
     */
    RIVERGRAM_STABLE_CONSTANT = 0,
    /**
     * peak * sqrt(warmup / step), never below the floor.
     */
    RIVERGRAM_STABLE_INVERSE_SQRT = 1,
    /**
     * peak * sqrt(s / (s + t - start)) from step start on, with s = `stable_timescale`.
     */
    RIVERGRAM_STABLE_INVERSE_SQRT_AFTER = 2,
};

/**
 * What a GRAM loss contrasts.
 */
typedef uint32_t rivergram_term;
enum {
    /**
     * The volume of anchor and item.
     */
    RIVERGRAM_TERM_VOLUME = 0,
    /**
     * The mean cosine of the anchor with the other modalities; of all pairs with `RIVERGRAM_NONE` as the anchor.
     */
    RIVERGRAM_TERM_COSINE = 1,
};

/**
 * The progress at step t = 0 .. W-1 of a warmup of W steps.
 */
typedef uint32_t rivergram_warmup_edge;
enum {
    /**
     * t / W.
     */
    RIVERGRAM_WARMUP_EDGE_ZERO = 0,
    /**
     * (t+1) / W.
     */
    RIVERGRAM_WARMUP_EDGE_ONE = 1,
    /**
     * (t+1) / (W+1).
     */
    RIVERGRAM_WARMUP_EDGE_N_PLUS_ONE = 2,
    /**
     * t / (W-1).
     */
    RIVERGRAM_WARMUP_EDGE_BOTH = 3,
};

/**
 * How a warmup rises.
 */
typedef uint32_t rivergram_warmup_shape;
enum {
    /**
     * A straight line.
     */
    RIVERGRAM_WARMUP_SHAPE_LINEAR = 0,
    /**
     * (1 - cos(pi x)) / 2.
     */
    RIVERGRAM_WARMUP_SHAPE_COSINE = 1,
    /**
     * 1 - sqrt(1 - x): flat at first.
     */
    RIVERGRAM_WARMUP_SHAPE_ONE_MINUS_SQRT = 2,
};

/**
 * What a vector of zeros means: volume 0 is the best match.
 */
typedef uint32_t rivergram_zero_rows;
enum {
    /**
     * An absent modality; a zero anchor leaves the loss.
     */
    RIVERGRAM_ZERO_ROWS_MISSING = 0,
    /**
     * Volume 0, as defined.
     */
    RIVERGRAM_ZERO_ROWS_ZERO = 1,
    /**
     * An error with its row.
     */
    RIVERGRAM_ZERO_ROWS_ERROR = 2,
};

/**
 * An average. Its numbers lie in an array of the caller, `rivergram_average_len` of them; both are what to save.
 */
typedef struct rivergram_average {
    /**
     * One of `rivergram_average_kind`.
     */
    uint32_t kind;
    /**
     * Of an exponential one the decay constant, from 0 to below 1.
     */
    float beta;
    /**
     * Of the latest copies how many, at least 1.
     */
    size_t copies;
    /**
     * And the updates between two of them, at least 1.
     */
    uint64_t every;
    /**
     * Updates taken in so far: begin with 0.
     */
    uint64_t updates;
} rivergram_average;

/**
 * What was wrong. It is written only where the status is not `RIVERGRAM_STATUS_OK`.
 */
typedef struct rivergram_error {
    /**
     * As returned.
     */
    rivergram_status status;
    /**
     * The argument, option or part: a string that always stays, never NULL.
     */
    const char *name;
    /**
     * Where, from the outermost on, see the status; `RIVERGRAM_NONE` where there is no such place.
     */
    size_t index[3];
    /**
     * What the call needs, see the status.
     */
    uint64_t need;
    /**
     * What it was given.
     */
    uint64_t have;
} rivergram_error;

/**
 * A reservoir of samples: of all that were offered, each is kept with the same probability (Vitter 1985, algorithm R).
 * Its samples lie in an array of the caller; both are what to save.
 */
typedef struct rivergram_reservoir {
    /**
     * Samples that it keeps, at least 1.
     */
    size_t capacity;
    /**
     * Decides what is kept and drawn.
     */
    uint64_t seed;
    /**
     * Samples offered so far: begin with 0.
     */
    uint64_t seen;
} rivergram_reservoir;

/**
 * An order of n-grams and its weight.
 */
typedef struct rivergram_order {
    /**
     * Tokens of an n-gram; in `from_length` the k of n = (output length) - k.
     */
    size_t n;
    /**
     * The weights need not sum to 1.
     */
    float weight;
} rivergram_order;

/**
 * The loss: ngram_factor * (sum of weights * losses of the orders) + ce_factor * cross-entropy. Start from
 * `rivergram_eisl_options_paper`.
 */
typedef struct rivergram_eisl_options {
    /**
     * Fixed orders, up to `RIVERGRAM_ORDERS_MAX`.
     */
    const struct rivergram_order *orders;
    /**
     * How many.
     */
    size_t orders_len;
    /**
     * Orders relative to each row's output length; they come after the fixed ones. NULL: none.
     */
    const struct rivergram_order *from_length;
    /**
     * How many.
     */
    size_t from_length_len;
    /**
     * A `rivergram_objective`.
     */
    uint32_t objective;
    /**
     * A `rivergram_select`.
     */
    uint32_t select;
    /**
     * A `rivergram_axis`.
     */
    uint32_t axis;
    /**
     * tau of the softmax over places, positive.
     */
    float temperature;
    /**
     * Log-probabilities are raised to at least this; -INFINITY for no clamp.
     */
    float clamp;
    /**
     * A `rivergram_padding`.
     */
    uint32_t padding;
    /**
     * 1 where `pad_id` is a label that means padding, besides -100; else 0.
     */
    uint32_t has_pad_id;
    /**
     * That label.
     */
    int32_t pad_id;
    /**
     * A `rivergram_input`.
     */
    uint32_t input;
    /**
     * At 0 the n-gram part is not computed.
     */
    float ngram_factor;
    /**
     * At 0 the cross-entropy is not computed.
     */
    float ce_factor;
    /**
     * Of the cross-entropy, in `[0, 1]`.
     */
    float label_smoothing;
} rivergram_eisl_options;

/**
 * A batch of sequences: B rows, T output positions, U targets, V tokens.
 */
typedef struct rivergram_eisl_batch {
    /**
     * B.
     */
    size_t batch;
    /**
     * T.
     */
    size_t positions;
    /**
     * U.
     */
    size_t targets;
    /**
     * V.
     */
    size_t vocabulary;
    /**
     * `[B, U]`: token ids, the pad id or -100.
     */
    const int32_t *labels;
    /**
     * B U.
     */
    size_t labels_len;
    /**
     * `[B]`: the targets of each row. NULL: a row ends after its last label that is no pad.
     */
    const size_t *target_lens;
    /**
     * `[B]`: the output positions of each row, for `RIVERGRAM_PADDING_MASK`. NULL: all T.
     */
    const size_t *output_lens;
    /**
     * For each order `[B, T-n+1, U-n+1]`: noise on the scores. NULL: none.
     */
    const float *noise;
    /**
     * Floats of noise.
     */
    size_t noise_len;
} rivergram_eisl_batch;

/**
 * The loss of a batch.
 */
typedef struct rivergram_eisl_losses {
    /**
     * ngram_factor * eisl + ce_factor * ce.
     */
    float total;
    /**
     * The weighted sum of the orders' losses, each the mean over rows.
     */
    float eisl;
    /**
     * The mean cross-entropy over tokens.
     */
    float ce;
} rivergram_eisl_losses;

/**
 * The GRAM loss of a batch: InfoNCE of -volume / temperature (arXiv 2412.11959, eq. 6 to 8). Start from
 * `rivergram_gram_options_paper`.
 */
typedef struct rivergram_gram_options {
    /**
     * A `rivergram_term`.
     */
    uint32_t term;
    /**
     * The modality that is the anchor; `RIVERGRAM_NONE`: each in turn, and the mean.
     */
    size_t anchor;
    /**
     * The weight of the cosines of all pairs, added to the term; 0 for none.
     */
    float pairs;
    /**
     * tau, positive.
     */
    float temperature;
    /**
     * In `[0, 1]`.
     */
    float label_smoothing;
    /**
     * 1 to L2-normalise the vectors first, with the gradient through it; else 0.
     */
    uint32_t normalise;
    /**
     * A `rivergram_zero_rows`.
     */
    uint32_t zero_rows;
} rivergram_gram_options;

/**
 * What a GRAM loss found.
 */
typedef struct rivergram_gram_report {
    /**
     * The whole loss.
     */
    float loss;
    /**
     * Its part that is `pairs` times the cosines of all pairs.
     */
    float pairs_loss;
    /**
     * dL/dtau.
     */
    float temperature_gradient;
    /**
     * Vectors that were absent or taken as absent.
     */
    size_t missing;
    /**
     * Items with volume 0 for every anchor, summed over the anchors: their vectors are dependent.
     */
    size_t degenerate;
} rivergram_gram_report;

/**
 * An optimizer. Start from `rivergram_optimizer_named`.
 */
typedef struct rivergram_optimizer {
    /**
     * A `rivergram_optimizer_kind`.
     */
    uint32_t kind;
    /**
     * Of SGD, in [0, 1).
     */
    float momentum;
    /**
     * Of AdamW and Lion, in [0, 1).
     */
    float beta1;
    /**
     * Of AdamW and Lion, in [0, 1).
     */
    float beta2;
    /**
     * Of AdamW, positive.
     */
    float epsilon;
    /**
     * Coupled for SGD, decoupled for the others.
     */
    float weight_decay;
} rivergram_optimizer;

/**
 * The sizes of a head: linear, or with one hidden layer, then L2 normalisation.
 *
 * Its parameters lie in one array, in the order W1 `[hidden, input]`, b1, W2 `[output, hidden]`, b2, row-major; a
 * linear head has W `[output, input]`, b. `RIVERGRAM_HEAD_LEN` is their number as a constant.
 */
typedef struct rivergram_head {
    /**
     * Features that go in.
     */
    size_t input;
    /**
     * Hidden units; 0 for a linear head.
     */
    size_t hidden;
    /**
     * Numbers that come out.
     */
    size_t output;
    /**
     * 1 to L2-normalise the output; else 0.
     */
    uint32_t normalise;
} rivergram_head;

/**
 * Lengths that belong to a head and so many rows.
 */
typedef struct rivergram_head_lens {
    /**
     * Floats of parameters.
     */
    size_t parameters;
    /**
     * Floats that the backward pass needs from the forward pass.
     */
    size_t cache;
    /**
     * Floats of scratch for the backward pass.
     */
    size_t scratch;
} rivergram_head_lens;

/**
 * The state of a schedule. What is in it is no business of the caller, but for where it lies: it may be a static
 * variable, may be copied, and needs `rivergram_wsds_init` before anything else. Its budgets stay with the caller.
 */
typedef struct rivergram_wsds {
    /**
     * Not for use.
     */
    uint64_t opaque[RIVERGRAM_WSDS_WORDS];
} rivergram_wsds;

/**
 * A trainer: heads, optimizer, schedule, and where their numbers lie. Fill it in; everything is checked at each call,
 * and what lies in the arrays may be read and changed in between.
 */
typedef struct rivergram_trainer {
    /**
     * 1 to `RIVERGRAM_HEADS_MAX`.
     */
    const struct rivergram_head *heads;
    /**
     * How many.
     */
    size_t heads_len;
    /**
     * The optimizer.
     */
    struct rivergram_optimizer optimizer;
    /**
     * The norm that the gradient is clipped to; INFINITY: it is not.
     */
    float clip;
    /**
     * The parameters of all heads, one head after the other.
     */
    float *parameters;
    /**
     * Their number, see `rivergram_trainer_lens_of`.
     */
    size_t parameters_len;
    /**
     * The gradient, as long as the parameters. NULL where memory is short: a step then makes that of one head at a
     * time in the workspace, and the updates are the same.
     */
    float *gradient;
    /**
     * Its length, or 0.
     */
    size_t gradient_len;
    /**
     * The optimizer's moments; they begin as zeros, and one that is not finite is an error of a step.
     */
    float *moments;
    /**
     * Their number; 0 for SGD without momentum.
     */
    size_t moments_len;
    /**
     * What a step needs besides; longer is fine.
     */
    float *workspace;
    /**
     * Its length.
     */
    size_t workspace_len;
    /**
     * The rates. A step counts one; where the schedule counts samples or tokens, `rivergram_wsds_advance` after each
     * step counts the others of its batch.
     */
    struct rivergram_wsds *schedule;
    /**
     * Updates made so far: begin with 0.
     */
    uint64_t updates;
} rivergram_trainer;

/**
 * Lengths that belong to a trainer.
 */
typedef struct rivergram_trainer_lens {
    /**
     * Floats of parameters, and of the gradient.
     */
    size_t parameters;
    /**
     * Floats of moments.
     */
    size_t moments;
    /**
     * Floats of workspace for `rivergram_trainer_align` with so many rows and a gradient.
     */
    size_t align_workspace;
    /**
     * The same without a gradient or with features in 8 bits, for a loss with one anchor. With each modality as the
     * anchor (heads - 1) rows d more, d being the length of an output.
     */
    size_t lean_align_workspace;
    /**
     * Bytes that `rivergram_trainer_save` writes.
     */
    size_t saved;
} rivergram_trainer_lens;

/**
 * What one step did.
 */
typedef struct rivergram_step {
    /**
     * The loss before the update.
     */
    float loss;
    /**
     * The rate of the update.
     */
    float rate;
    /**
     * The norm of the gradient before it was clipped.
     */
    float gradient_norm;
} rivergram_step;

/**
 * Features in 8 bits: x = scale * value.
 */
typedef struct rivergram_features_i8 {
    /**
     * `[rows, input]`.
     */
    const int8_t *values;
    /**
     * Their number.
     */
    size_t values_len;
    /**
     * How much a step of 1 is.
     */
    float scale;
} rivergram_features_i8;

/**
 * What decides the rates, but for the budgets. Start from `rivergram_wsds_settings_named`.
 */
typedef struct rivergram_wsds_settings {
    /**
     * The rate P of the stable phase.
     */
    float peak;
    /**
     * The rate F that decays end at, and that re-warmups begin at.
     */
    float floor;
    /**
     * The rate that the first warmup begins at.
     */
    float init;
    /**
     * Of the shapes that have one.
     */
    float shape_parameter;
    /**
     * Steps of the first warmup.
     */
    uint64_t warmup;
    /**
     * Steps back to the peak after each budget; 0 jumps.
     */
    uint64_t rewarmup;
    /**
     * Of `RIVERGRAM_STABLE_INVERSE_SQRT_AFTER`.
     */
    uint64_t stable_start;
    /**
     * Of `RIVERGRAM_STABLE_INVERSE_SQRT_AFTER`.
     */
    uint64_t stable_timescale;
    /**
     * Millionths or steps, see `decay`.
     */
    uint64_t decay_amount;
    /**
     * A `rivergram_warmup_shape`.
     */
    uint32_t warmup_shape;
    /**
     * A `rivergram_warmup_edge`.
     */
    uint32_t warmup_edge;
    /**
     * A `rivergram_stable`.
     */
    uint32_t stable;
    /**
     * A `rivergram_shape`.
     */
    uint32_t shape;
    /**
     * A `rivergram_decay`.
     */
    uint32_t decay;
    /**
     * A `rivergram_decay_edge`.
     */
    uint32_t decay_edge;
    /**
     * A `rivergram_after`.
     */
    uint32_t after;
} rivergram_wsds_settings;

/**
 * Where a schedule stands.
 */
typedef struct rivergram_position {
    /**
     * Updates made so far, or units counted.
     */
    uint64_t step;
    /**
     * Steps left in the phase; `RIVERGRAM_WITHOUT_END` where it does not end.
     */
    uint64_t remaining;
    /**
     * The place of the next budget; `RIVERGRAM_NONE` after the last.
     */
    size_t budget;
    /**
     * A `rivergram_phase`.
     */
    uint32_t phase;
} rivergram_position;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Numbers that an average of so many weights keeps: as many, or `copies` times as many.
 *
 * Cost: a product.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION.
 *
 * Contract:
 * Behind each pointer lies what its type says; `error` may be NULL.
 */
rivergram_status rivergram_average_len(const struct rivergram_average *average,
                                       size_t weights,
                                       size_t *len,
                                       struct rivergram_error *error);

/**
 * Takes the weights `[n]` after an update into an average. Call it where `rivergram_wsds_position` says that the phase is
 * stable; what `numbers` hold before the first update is not looked at.
 *
 * Cost: two passes over the weights, and one over the numbers.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE. After one nothing has changed.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_average_update(struct rivergram_average *average,
                                          const float *weights,
                                          size_t weights_len,
                                          float *numbers,
                                          size_t numbers_len,
                                          struct rivergram_error *error);

/**
 * Writes the averaged weights `[n]`. `is_there`, unless NULL: whether there are any, else nothing is written.
 *
 * Cost: two passes over the numbers.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE.
 *
 * Contract:
 * Behind each pointer lies what its length says; `is_there` and `error` may be NULL.
 */
rivergram_status rivergram_average_read(const struct rivergram_average *average,
                                        const float *numbers,
                                        size_t numbers_len,
                                        float *weights,
                                        size_t weights_len,
                                        bool *is_there,
                                        struct rivergram_error *error);

/**
 * Offers a sample `[n]` to a reservoir, whose samples are `[capacity, n]`. `row`, unless NULL: where it is kept now, or
 * RIVERGRAM_NONE where it was passed over.
 *
 * Cost: a pass over the sample, and a copy.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE. After one nothing has changed.
 *
 * Contract:
 * Behind each pointer lies what its length says; `row` and `error` may be NULL.
 */
rivergram_status rivergram_reservoir_offer(struct rivergram_reservoir *reservoir,
                                           const float *sample,
                                           size_t sample_len,
                                           float *samples,
                                           size_t samples_len,
                                           size_t *row,
                                           struct rivergram_error *error);

/**
 * Draws rows of the samples without repetition, the same for the same `number`, such as that of the update. `count`:
 * how many there are, fewer than asked for where fewer are kept.
 *
 * Cost: quadratic in the rows.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_reservoir_draw(const struct rivergram_reservoir *reservoir,
                                          uint64_t number,
                                          size_t *rows,
                                          size_t rows_len,
                                          size_t *count,
                                          struct rivergram_error *error);

/**
 * The n-gram loss over logits with the paper's settings (arXiv 2106.15078 and its code): softmax selection over
 * output positions at temperature 1, clamp -20, masking. `options` keeps the pointer `orders`.
 *
 * Errors: NULL_POINTER, MISALIGNED. Cost: O(1).
 *
 * Contract:
 * `options` points to a `rivergram_eisl_options`; `error` may be NULL. `orders` is looked at by the loss only.
 */
rivergram_status rivergram_eisl_options_paper(const struct rivergram_order *orders,
                                              size_t orders_len,
                                              struct rivergram_eisl_options *options,
                                              struct rivergram_error *error);

/**
 * Floats of workspace for the sequence loss with so many orders of both kinds, whatever B and V;
 * `RIVERGRAM_EISL_WORKSPACE_LEN` is the same as a constant.
 */
size_t rivergram_eisl_workspace_len(size_t positions, size_t targets, size_t orders);

/**
 * The loss of a batch: `x` is `[B, T, V]`. The loss of each order goes to `per_order`, one float for each of both
 * kinds; NULL where it is not wanted.
 *
 * Cost: two passes over x and B T V exponentials; per order B T U additions and exponentials.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE, TOKEN, ROW_LENGTH, NO_PROBABILITY.
 *
 * Contract:
 * Behind each pointer, also in `options` and `batch`, lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_eisl_loss(const struct rivergram_eisl_options *options,
                                     const struct rivergram_eisl_batch *batch,
                                     const float *x,
                                     size_t x_len,
                                     float *per_order,
                                     size_t per_order_len,
                                     float *workspace,
                                     size_t workspace_len,
                                     struct rivergram_eisl_losses *losses,
                                     struct rivergram_error *error);

/**
 * The same, and `x` is replaced by the gradient with respect to it. An error in x itself is found row by row, and
 * rows before it are then already replaced; after all other errors x is as it was.
 *
 * Cost: that of `rivergram_eisl_loss` and a second pass over x with B T V exponentials.
 *
 * Errors: those of `rivergram_eisl_loss`.
 *
 * Contract:
 * As `rivergram_eisl_loss`.
 */
rivergram_status rivergram_eisl_loss_and_gradient(const struct rivergram_eisl_options *options,
                                                  const struct rivergram_eisl_batch *batch,
                                                  float *x,
                                                  size_t x_len,
                                                  float *per_order,
                                                  size_t per_order_len,
                                                  float *workspace,
                                                  size_t workspace_len,
                                                  struct rivergram_eisl_losses *losses,
                                                  struct rivergram_error *error);

/**
 * The paper's loss with modality `anchor`: temperature 0.07, label smoothing 0.1, normalised inside.
 *
 * Errors: NULL_POINTER, MISALIGNED. Cost: O(1).
 *
 * Contract:
 * `options` points to a `rivergram_gram_options`; `error` may be NULL.
 */
rivergram_status rivergram_gram_options_paper(size_t anchor,
                                              struct rivergram_gram_options *options,
                                              struct rivergram_error *error);

/**
 * Floats of workspace for `rivergram_gram_loss`; `RIVERGRAM_GRAM_WORKSPACE_LEN` is the same as a constant.
 */
size_t rivergram_gram_workspace_len(size_t k, size_t rows, size_t d);

/**
 * The loss of a batch of `rows` tuples of k modalities, and its gradient. `vectors` is `[k, rows, d]` and has
 * `vectors_len` floats, `gradient` is as long. `present` `[k, rows]` has a 0 where a modality is absent and a 1 where
 * it is there; NULL: all are there. What an absent vector holds is not looked at.
 *
 * Cost: per anchor three matrix products of 2 rows^2 d (k-1) operations.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE and ZERO_ROW with the modality and the
 * row in `index`. After one the gradient is unspecified.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_gram_loss(const struct rivergram_gram_options *options,
                                     const float *vectors,
                                     size_t vectors_len,
                                     const uint8_t *present,
                                     size_t present_len,
                                     size_t k,
                                     size_t rows,
                                     size_t d,
                                     float *gradient,
                                     size_t gradient_len,
                                     float *workspace,
                                     size_t workspace_len,
                                     struct rivergram_gram_report *report,
                                     struct rivergram_error *error);

/**
 * The usual settings of a `rivergram_optimizer_kind`: SGD without momentum, AdamW with 0.9, 0.999, 1e-8 and 0.01,
 * Lion with 0.9 and 0.99.
 *
 * Errors: NULL_POINTER, MISALIGNED, OPTION for another kind. Cost: O(1).
 *
 * Contract:
 * `optimizer` points to a `rivergram_optimizer`; `error` may be NULL.
 */
rivergram_status rivergram_optimizer_named(uint32_t kind,
                                           struct rivergram_optimizer *optimizer,
                                           struct rivergram_error *error);

/**
 * The lengths of a head's buffers for so many rows.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION. Cost: O(1).
 *
 * Contract:
 * `head` points to a `rivergram_head`, `lens` to a `rivergram_head_lens`; `error` may be NULL.
 */
rivergram_status rivergram_head_lens_of(const struct rivergram_head *head,
                                        size_t rows,
                                        struct rivergram_head_lens *lens,
                                        struct rivergram_error *error);

/**
 * The outputs `y` `[rows, output]` of the inputs `x` `[rows, input]`. `cache` keeps what
 * `rivergram_head_backward` needs; its length and that of the parameters tells `rivergram_head_lens_of`.
 *
 * Cost: 2 rows operations per parameter.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_head_forward(const struct rivergram_head *head,
                                        const float *parameters,
                                        size_t parameters_len,
                                        const float *x,
                                        size_t x_len,
                                        size_t rows,
                                        float *y,
                                        size_t y_len,
                                        float *cache,
                                        size_t cache_len,
                                        struct rivergram_error *error);

/**
 * Adds to `gradient`, as long as the parameters, their gradient, given that of the outputs in `dy` `[rows, output]`,
 * which is overwritten. `x`, `y` and `cache` are those of the forward pass. The gradient begins as zeros.
 *
 * Cost: 4 rows operations per parameter.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_head_backward(const struct rivergram_head *head,
                                         const float *parameters,
                                         size_t parameters_len,
                                         const float *x,
                                         size_t x_len,
                                         size_t rows,
                                         const float *y,
                                         size_t y_len,
                                         const float *cache,
                                         size_t cache_len,
                                         float *dy,
                                         size_t dy_len,
                                         float *gradient,
                                         size_t gradient_len,
                                         float *scratch,
                                         size_t scratch_len,
                                         struct rivergram_error *error);

/**
 * Floats of moments that an optimizer keeps for so many parameters: none, as many, or twice as many. They begin
 * as zeros.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION. Cost: O(1).
 *
 * Contract:
 * `optimizer` points to a `rivergram_optimizer`, `len` to a `size_t`; `error` may be NULL.
 */
rivergram_status rivergram_optimizer_moments_len(const struct rivergram_optimizer *optimizer,
                                                 size_t parameters_len,
                                                 size_t *len,
                                                 struct rivergram_error *error);

/**
 * One update at the rate `rate`; it is the `update`-th, from 1 on.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE. After one nothing has changed.
 *
 * Cost: 2 operations per parameter for SGD, 4 with momentum or for Lion, 10 and a square root for AdamW; and a look at
 * every number.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_optimizer_update(const struct rivergram_optimizer *optimizer,
                                            float rate,
                                            uint64_t update,
                                            float *parameters,
                                            size_t parameters_len,
                                            const float *gradient,
                                            size_t gradient_len,
                                            float *moments,
                                            size_t moments_len,
                                            struct rivergram_error *error);

/**
 * The version of the library. It works with a header whose `RIVERGRAM_ABI_VERSION` is the same.
 *
 * Cost: O(1).
 */
uint32_t rivergram_abi_version(void);

/**
 * Call it once with `RIVERGRAM_ABI_VERSION`: whether header and library fit together.
 *
 * Errors: MISALIGNED, ABI_VERSION. Cost: O(1).
 *
 * Contract:
 * `error` is NULL or points to a `rivergram_error`.
 */
rivergram_status rivergram_check_abi(uint32_t header_version, struct rivergram_error *error);

/**
 * A status in words: a string that always stays.
 *
 * Cost: O(1).
 */
const char *rivergram_status_text(uint32_t status);

/**
 * The lengths of a trainer's buffers, for steps of so many rows. Of the trainer, heads and optimizer are looked at.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH of `heads`, OPTION.
 *
 * Cost: one step per head.
 *
 * Contract:
 * `trainer` points to a `rivergram_trainer`, `lens` to a `rivergram_trainer_lens`; `error` may be NULL.
 */
rivergram_status rivergram_trainer_lens_of(const struct rivergram_trainer *trainer,
                                           size_t rows,
                                           struct rivergram_trainer_lens *lens,
                                           struct rivergram_error *error);

/**
 * One step of alignment with the GRAM loss: `inputs[i]` `[rows, input of head i]` of each head, `inputs_len[i]` floats
 * of it; the outputs of the heads, all of one length, are the modalities of a tuple. `present` `[heads, rows]` has a 0
 * where a modality is absent; NULL: all are there. `report` may be NULL.
 *
 * Cost: 6 operations per parameter and row, and those of `rivergram_gram_loss`.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE, ZERO_ROW, HEAD, DIVERGED,
 * NOT_A_STATE. An input or a parameter that is not finite is found in the output of its head: `index` is head and
 * row. After an error nothing has changed but gradient and workspace.
 *
 * Contract:
 * Behind each pointer, also in `trainer` and `inputs`, lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_trainer_align(struct rivergram_trainer *trainer,
                                         const struct rivergram_gram_options *loss,
                                         const float *const *inputs,
                                         const size_t *inputs_len,
                                         size_t inputs_count,
                                         const uint8_t *present,
                                         size_t present_len,
                                         size_t rows,
                                         struct rivergram_step *step,
                                         struct rivergram_gram_report *report,
                                         struct rivergram_error *error);

/**
 * `rivergram_trainer_align` of features in 8 bits, such as lie in flash: a step unpacks four rows at a time, into a
 * workspace of `lean_align_workspace` floats.
 *
 * Cost and Errors: those of `rivergram_trainer_align`.
 *
 * Contract:
 * As `rivergram_trainer_align`.
 */
rivergram_status rivergram_trainer_align_i8(struct rivergram_trainer *trainer,
                                            const struct rivergram_gram_options *loss,
                                            const struct rivergram_features_i8 *inputs,
                                            size_t inputs_count,
                                            const uint8_t *present,
                                            size_t present_len,
                                            size_t rows,
                                            struct rivergram_step *step,
                                            struct rivergram_gram_report *report,
                                            struct rivergram_error *error);

/**
 * Floats of workspace for `rivergram_trainer_transcribe` with these options and a batch of these sizes. Of the
 * trainer the heads are looked at, of the batch the sizes. Where the trainer has no gradient there is room for it, and
 * for four rows of features in 8 bits. Where it has one `rivergram_trainer_transcribe_i8` takes up to these four rows,
 * 4 * input floats, more.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH of `heads` or `orders`, OPTION.
 *
 * Cost: O(1).
 *
 * Contract:
 * Behind each pointer, also in the structures, lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_trainer_transcribe_workspace_len(const struct rivergram_trainer *trainer,
                                                            const struct rivergram_eisl_options *loss,
                                                            const struct rivergram_eisl_batch *batch,
                                                            size_t *len,
                                                            struct rivergram_error *error);

/**
 * One step of transcription: the only head, which must not normalise, gives the logits of every output position,
 * `inputs` `[B, T, input]`, for a sequence loss with labels. `losses` may be NULL.
 *
 * Cost: 6 operations per parameter and position, and those of `rivergram_eisl_loss_and_gradient`.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE (the logits: `index` is row, position
 * and token), TOKEN, ROW_LENGTH, HEAD, DIVERGED, NOT_A_STATE. After one nothing has changed but gradient and
 * workspace.
 *
 * Contract:
 * Behind each pointer, also in the structures, lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_trainer_transcribe(struct rivergram_trainer *trainer,
                                              const struct rivergram_eisl_options *loss,
                                              const struct rivergram_eisl_batch *batch,
                                              const float *inputs,
                                              size_t inputs_len,
                                              struct rivergram_step *step,
                                              struct rivergram_eisl_losses *losses,
                                              struct rivergram_error *error);

/**
 * `rivergram_trainer_transcribe` of features in 8 bits, such as lie in flash: a step unpacks four rows at a time.
 *
 * Cost and Errors: those of `rivergram_trainer_transcribe`.
 *
 * Contract:
 * As `rivergram_trainer_transcribe`; `inputs` points to one `rivergram_features_i8`.
 */
rivergram_status rivergram_trainer_transcribe_i8(struct rivergram_trainer *trainer,
                                                 const struct rivergram_eisl_options *loss,
                                                 const struct rivergram_eisl_batch *batch,
                                                 const struct rivergram_features_i8 *inputs,
                                                 struct rivergram_step *step,
                                                 struct rivergram_eisl_losses *losses,
                                                 struct rivergram_error *error);

/**
 * Writes parameters, moments, counts and the schedule's state to the start of `bytes`, with checksums;
 * `rivergram_trainer_lens_of` tells how many bytes.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_A_STATE.
 *
 * Cost: a copy of parameters and moments, and a checksum over it.
 *
 * Contract:
 * Behind each pointer, also in `trainer`, lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_trainer_save(const struct rivergram_trainer *trainer,
                                        uint8_t *bytes,
                                        size_t bytes_len,
                                        struct rivergram_error *error);

/**
 * Reads what a trainer with equal heads, optimizer, clip and schedule saved. After an error nothing has changed.
 *
 * Errors: those of `rivergram_trainer_save`, and TRUNCATED, NOT_SAVED, FORMAT_VERSION, CHECKSUM, OTHER_SETTINGS,
 * PHASE.
 *
 * Cost: that of `rivergram_trainer_save`.
 *
 * Contract:
 * Behind each pointer, also in `trainer`, lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_trainer_load(struct rivergram_trainer *trainer,
                                        const uint8_t *bytes,
                                        size_t bytes_len,
                                        struct rivergram_error *error);

/**
 * Floats of workspace for `rivergram_volume` and `rivergram_volume_gradient`: none for k up to 8.
 */
size_t rivergram_volume_workspace_len(size_t k, size_t d);

/**
 * The volume sqrt(det X X^T) of k vectors of length d (arXiv 2412.11959, eq. 4), row by row in `vectors`, which
 * has `vectors_len` = k d floats. k > d gives 0.
 *
 * Relative error below 1e-6 for k up to 8, however the vectors lie. Cost: k^2/2 d multiply-adds.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, NOT_FINITE with the vector in `index[0]`.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_volume(const float *vectors,
                                  size_t vectors_len,
                                  size_t k,
                                  size_t d,
                                  float *workspace,
                                  size_t workspace_len,
                                  float *volume,
                                  struct rivergram_error *error);

/**
 * The volume, and its gradient by the vectors into `gradient` `[k, d]`. Where the volume is 0 the gradient is 0, a
 * valid subgradient. `volume` may be NULL.
 *
 * Cost: that of `rivergram_volume` and k^2 d multiply-adds. Errors: the same.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_volume_gradient(const float *vectors,
                                           size_t vectors_len,
                                           size_t k,
                                           size_t d,
                                           float *gradient,
                                           size_t gradient_len,
                                           float *workspace,
                                           size_t workspace_len,
                                           float *volume,
                                           struct rivergram_error *error);

/**
 * The volume of two vectors: as `rivergram_volume` with k = 2, and a program that calls only this links only the code
 * of two vectors.
 *
 * Cost and Errors: those of `rivergram_volume`.
 *
 * Contract:
 * As `rivergram_volume`.
 */
rivergram_status rivergram_volume2(const float *vectors,
                                   size_t vectors_len,
                                   size_t d,
                                   float *volume,
                                   struct rivergram_error *error);

/**
 * The volume of three vectors, see `rivergram_volume2`.
 *
 * Cost and Errors: those of `rivergram_volume`.
 *
 * Contract:
 * As `rivergram_volume`.
 */
rivergram_status rivergram_volume3(const float *vectors,
                                   size_t vectors_len,
                                   size_t d,
                                   float *volume,
                                   struct rivergram_error *error);

/**
 * The volume of four vectors, see `rivergram_volume2`.
 *
 * Cost and Errors: those of `rivergram_volume`.
 *
 * Contract:
 * As `rivergram_volume`.
 */
rivergram_status rivergram_volume4(const float *vectors,
                                   size_t vectors_len,
                                   size_t d,
                                   float *volume,
                                   struct rivergram_error *error);

/**
 * The volume of two vectors and its gradient: as `rivergram_volume_gradient` with k = 2, and a program that calls only
 * this links only the code of two vectors.
 *
 * Cost and Errors: those of `rivergram_volume_gradient`.
 *
 * Contract:
 * As `rivergram_volume_gradient`.
 */
rivergram_status rivergram_volume_gradient2(const float *vectors,
                                            size_t vectors_len,
                                            size_t d,
                                            float *gradient,
                                            size_t gradient_len,
                                            float *volume,
                                            struct rivergram_error *error);

/**
 * The volume of three vectors and its gradient, see `rivergram_volume_gradient2`.
 *
 * Cost and Errors: those of `rivergram_volume_gradient`.
 *
 * Contract:
 * As `rivergram_volume_gradient`.
 */
rivergram_status rivergram_volume_gradient3(const float *vectors,
                                            size_t vectors_len,
                                            size_t d,
                                            float *gradient,
                                            size_t gradient_len,
                                            float *volume,
                                            struct rivergram_error *error);

/**
 * The volume of four vectors and its gradient, see `rivergram_volume_gradient2`.
 *
 * Cost and Errors: those of `rivergram_volume_gradient`.
 *
 * Contract:
 * As `rivergram_volume_gradient`.
 */
rivergram_status rivergram_volume_gradient4(const float *vectors,
                                            size_t vectors_len,
                                            size_t d,
                                            float *gradient,
                                            size_t gradient_len,
                                            float *volume,
                                            struct rivergram_error *error);

/**
 * A row of floats in eight bits: n = x / scale to the nearest integer into `quantised`, which is as long as `x`.
 * `scale` is max|x| / 127; 0 for a row of zeros. Cost: two passes.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, NOT_FINITE with the place in `index[0]`.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_quantise(const float *x,
                                    size_t x_len,
                                    int8_t *quantised,
                                    size_t quantised_len,
                                    float *scale,
                                    struct rivergram_error *error);

/**
 * The volume of `scales_len` vectors scale * n of d integers each, row by row in `vectors`, for cores without a
 * floating-point unit: exact in integers but for one square root. At most 8 vectors and 131071 dimensions.
 *
 * Cost: k (k+1)/2 d integer multiply-adds and k (k-1) 2^(k-2) products of two words.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH; OPTION for a scale that is negative or not finite, with
 * the vector in `index[0]`.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_volume_i8(const int8_t *vectors,
                                     size_t vectors_len,
                                     const float *scales,
                                     size_t scales_len,
                                     size_t d,
                                     float *volume,
                                     struct rivergram_error *error);

/**
 * `sizeof(rivergram_wsds)`, for who allocates at run time.
 *
 * Cost: O(1).
 */
size_t rivergram_wsds_size(void);

/**
 * The alignment of a `rivergram_wsds`, for who allocates at run time.
 *
 * Cost: O(1).
 */
size_t rivergram_wsds_align(void);

/**
 * The settings of a schedule that has a name, a `rivergram_schedule`, with peak and floor: a start to change from.
 *
 * Errors: NULL_POINTER, MISALIGNED, OPTION for another schedule. Cost: O(1).
 *
 * Contract:
 * `settings` points to a `rivergram_wsds_settings`; `error` may be NULL.
 */
rivergram_status rivergram_wsds_settings_named(uint32_t schedule,
                                               float peak,
                                               float floor,
                                               struct rivergram_wsds_settings *settings,
                                               struct rivergram_error *error);

/**
 * Makes a state before its first update. `state_size` is `sizeof(rivergram_wsds)` as the caller knows it.
 * `budgets` are total steps, strictly increasing; none is a run whose end is not known. The state holds on to
 * them: they stay where they are, unchanged, as long as it is used.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH of `state_size`, OPTION, BUDGET, WARMUP.
 *
 * Cost: linear in the number of budgets.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_wsds_init(struct rivergram_wsds *state,
                                     size_t state_size,
                                     const struct rivergram_wsds_settings *settings,
                                     const uint64_t *budgets,
                                     size_t budgets_len,
                                     struct rivergram_error *error);

/**
 * The rate of the next update, into `rate` unless that is NULL, and one update on. In a plan that counts samples
 * or tokens `units` are those of the update's batch; else it is 1.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Cost: O(1), and where a budget ends linear in their number; a checksum over the state is most of it.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`, `rate` to a float; `error` may be NULL.
 */
rivergram_status rivergram_wsds_advance(struct rivergram_wsds *state,
                                        uint64_t units,
                                        float *rate,
                                        struct rivergram_error *error);

/**
 * The rate of the (t+1)-th update, if nothing else happens before; for t from the present step on.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Cost: linear in the number of budgets.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`, `rate` to a float; `error` may be NULL.
 */
rivergram_status rivergram_wsds_rate_at(const struct rivergram_wsds *state,
                                        uint64_t t,
                                        float *rate,
                                        struct rivergram_error *error);

/**
 * Where the schedule stands.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Cost: O(1); a checksum over the state is most of it.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`, `position` to a `rivergram_position`; `error` may be NULL.
 */
rivergram_status rivergram_wsds_position(const struct rivergram_wsds *state,
                                         struct rivergram_position *position,
                                         struct rivergram_error *error);

/**
 * Begins a decay of `length` steps with the next update, from the rate of the moment. After it the run goes on as
 * after a budget. `changed`, unless NULL: not for length 0, nor at the floor after the last budget.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Cost: O(1); a checksum over the state is most of it.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
 */
rivergram_status rivergram_wsds_request_decay(struct rivergram_wsds *state,
                                              uint64_t length,
                                              bool *changed,
                                              struct rivergram_error *error);

/**
 * The same with a length of so many millionths of the steps made so far, rounded down, at least 1; more than a
 * million count as a million. `rivergram_wsds_position` tells the length: what remains of the decay. `changed`, unless
 * NULL: not at the floor after the last budget.
 *
 * Cost: O(1), and a checksum of the state.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
 */
rivergram_status rivergram_wsds_request_decay_of_seen(struct rivergram_wsds *state,
                                                      uint32_t millionths,
                                                      bool *changed,
                                                      struct rivergram_error *error);

/**
 * Ends a decay with the next update and goes back to the peak. `changed`, unless NULL: whether there was one.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Cost: O(1); a checksum over the state is most of it.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
 */
rivergram_status rivergram_wsds_cancel_decay(struct rivergram_wsds *state,
                                             bool *changed,
                                             struct rivergram_error *error);

/**
 * Moves the end of the running decay, else the next budget and its decay, later by so many steps. `changed`,
 * unless NULL: not for 0, nor where no end is to come.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Cost: O(1); a checksum over the state is most of it.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
 */
rivergram_status rivergram_wsds_extend(struct rivergram_wsds *state,
                                       uint64_t by,
                                       bool *changed,
                                       struct rivergram_error *error);

/**
 * Goes back to the peak after a decay that has ended, in `rewarmup` steps; 0 jumps. `changed`, unless NULL: whether
 * the state was at the floor after the last budget or in a re-warmup.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
 *
 * Cost: O(1); a checksum over the state is most of it.
 *
 * Contract:
 * `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
 */
rivergram_status rivergram_wsds_resume_to_peak(struct rivergram_wsds *state,
                                               uint64_t rewarmup,
                                               bool *changed,
                                               struct rivergram_error *error);

/**
 * Goes on with other budgets, which differ only in those that are still to come: later ones are added, or others take
 * their place. The state holds on to the new list instead of the old one, which must not have changed. After the
 * last budget the run goes back to the peak, as after any other. After an error the state is as it was.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE, BUDGET, WARMUP, OTHER_SETTINGS for a budget that was reached,
 * or whose decay has begun, and is not in its place.
 *
 * Cost: linear in the number of budgets.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_wsds_set_budgets(struct rivergram_wsds *state,
                                            const uint64_t *budgets,
                                            size_t budgets_len,
                                            struct rivergram_error *error);

/**
 * Writes the state to the start of `bytes`, `RIVERGRAM_WSDS_SAVED_LEN` bytes with a checksum, the same on every
 * machine.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE, LENGTH.
 *
 * Cost: linear in the number of budgets.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_wsds_save(const struct rivergram_wsds *state,
                                     uint8_t *bytes,
                                     size_t bytes_len,
                                     struct rivergram_error *error);

/**
 * Reads what a state with equal settings and budgets saved; `state` was initialised with these. What follows the
 * saved bytes is not looked at. After an error the state is as it was.
 *
 * Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE, TRUNCATED, NOT_SAVED, FORMAT_VERSION, CHECKSUM,
 * OTHER_SETTINGS, PHASE.
 *
 * Cost: linear in the number of budgets.
 *
 * Contract:
 * Behind each pointer lies what its length says; `error` may be NULL.
 */
rivergram_status rivergram_wsds_load(struct rivergram_wsds *state,
                                     const uint8_t *bytes,
                                     size_t bytes_len,
                                     struct rivergram_error *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus


/* The lengths of buffers as constants, for static memory: those that the functions of like names return. */

/* Floats of parameters of a rivergram_head; hidden = 0 is a linear head. */
#define RIVERGRAM_HEAD_LEN(input, hidden, output) \
    ((hidden) == 0 ? (output) * ((input) + 1) : (hidden) * ((input) + 1) + (output) * ((hidden) + 1))

/* The larger of two lengths. */
#define RIVERGRAM_LARGER(a, b) ((a) > (b) ? (a) : (b))

/* Floats of workspace of rivergram_gram_loss. */
#define RIVERGRAM_GRAM_WORKSPACE_LEN(k, rows, d) \
    ((k) * (rows) * ((d) + 2) + (rows) * (((k)-1) * (2 * (d) + (k)-1) + 2) + \
     RIVERGRAM_LARGER((rows) * (rows) * ((k) + 1), (k) * ((d) + (k)-1)) + \
     RIVERGRAM_LARGER(10 * (rows), (rows) * (((k)-1) * ((k)-1) + 2) + (d) + (k)-1))

/* Floats of workspace of rivergram_eisl_loss. */
#define RIVERGRAM_EISL_WORKSPACE_LEN(positions, targets, orders) \
    (4 * (positions) * (targets) + 2 * (positions) + ((positions) > (targets) ? (positions) : (targets)) + (orders))

/* Floats of workspace of rivergram_trainer_align, for linear heads of d outputs each. */
#define RIVERGRAM_ALIGN_WORKSPACE_LEN(heads, rows, d) \
    ((heads) * (rows) * ((d) + 1) + RIVERGRAM_GRAM_WORKSPACE_LEN(heads, rows, d))

/* Floats of workspace of rivergram_trainer_transcribe, for a linear head. */
#define RIVERGRAM_TRANSCRIBE_WORKSPACE_LEN(batch, positions, targets, vocabulary, orders) \
    ((batch) * (positions) * ((vocabulary) + 1) + RIVERGRAM_EISL_WORKSPACE_LEN(positions, targets, orders))

/* The same two without a gradient or with features in 8 bits, for linear heads of so many inputs; the first for a loss
 * with one anchor. */
#define RIVERGRAM_LEAN_ALIGN_WORKSPACE_LEN(heads, rows, input, d) \
    ((heads) * (rows) * (2 * (d) + 1) + \
     RIVERGRAM_LARGER(RIVERGRAM_GRAM_WORKSPACE_LEN(heads, rows, d) - (2 * (heads)-1) * (rows) * (d), \
                      (d) * ((input) + 1) + 4 * (input)))
#define RIVERGRAM_LEAN_TRANSCRIBE_WORKSPACE_LEN(batch, positions, targets, input, vocabulary, orders) \
    ((batch) * (positions) * ((vocabulary) + 1) + \
     RIVERGRAM_LARGER(RIVERGRAM_EISL_WORKSPACE_LEN(positions, targets, orders), \
                      (vocabulary) * ((input) + 1) + 4 * (input)))

#endif  /* RIVERGRAM_H */
