/* Every error that C can see: NULL for each pointer, lengths, overlap, misalignment, numbers that are not finite,
 * options, states. Ends with a count in the form of a Rust test. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rivergram.h"

static int passed, failed;
static rivergram_error error;

static void expect(int line, rivergram_status got, rivergram_status want, const char *name)
{
    int right = got == want;
    if (right && want != RIVERGRAM_STATUS_OK)
        right = error.status == want && strcmp(error.name, name) == 0;
    if (right) {
        passed++;
    } else {
        failed++;
        printf("errors.c:%d: status %u (%s) of `%s`, not %u of `%s`\n", line, (unsigned)got,
               rivergram_status_text(got), error.name ? error.name : "", (unsigned)want, name);
    }
    memset(&error, 0, sizeof error);
}

static void is_true(int line, int right)
{
    passed += right != 0;
    failed += right == 0;
    if (!right)
        printf("errors.c:%d: not so\n", line);
}

#define OK(call) expect(__LINE__, call, RIVERGRAM_STATUS_OK, "")
#define FAILS(call, status, name) expect(__LINE__, call, RIVERGRAM_STATUS_##status, name)
#define TRUE(what) is_true(__LINE__, what)

static void volume(void)
{
    float x[6] = {3, 0, 0, 5, 4, 0}, g[6], w[4], v = -1;
    FAILS(rivergram_volume(NULL, 6, 2, 3, NULL, 0, &v, &error), NULL_POINTER, "vectors");
    FAILS(rivergram_volume(x, 6, 2, 3, NULL, 1, &v, &error), NULL_POINTER, "workspace");
    FAILS(rivergram_volume(x, 6, 2, 3, NULL, 0, NULL, &error), NULL_POINTER, "volume");
    FAILS(rivergram_volume((const float *)((char *)x + 1), 1, 1, 1, NULL, 0, &v, &error), MISALIGNED, "vectors");
    FAILS(rivergram_volume(x, 6, 2, 3, NULL, 0, x + 5, &error), OVERLAP, "volume");
    FAILS(rivergram_volume(x, 6, 2, 3, w, 4, w + 3, &error), OVERLAP, "workspace");
    FAILS(rivergram_volume(x, SIZE_MAX, 2, 3, NULL, 0, &v, &error), LENGTH, "vectors");
    FAILS(rivergram_volume(x, 0, 0, 3, NULL, 0, &v, &error), SIZE, "k");
    FAILS(rivergram_volume(x, 0, 2, 0, NULL, 0, &v, &error), SIZE, "d");
    FAILS(rivergram_volume(x, 6, 9, 1, NULL, 0, &v, &error), LENGTH, "vectors");
    TRUE(v == -1);
    (void)rivergram_volume(x, 5, 2, 3, NULL, 0, &v, &error);
    TRUE(error.need == 6 && error.have == 5 && error.index[0] == RIVERGRAM_NONE);
    x[4] = NAN;
    FAILS(rivergram_volume(x, 6, 2, 3, NULL, 0, &v, &error), NOT_FINITE, "vectors");
    (void)rivergram_volume(x, 6, 2, 3, NULL, 0, &v, &error);
    TRUE(error.index[0] == 1 && error.index[1] == 0);
    TRUE(rivergram_volume(x, 6, 2, 3, NULL, 0, &v, NULL) == RIVERGRAM_STATUS_NOT_FINITE);
    TRUE(rivergram_volume(x, 6, 2, 3, NULL, 0, &v, (rivergram_error *)((char *)&error + 1)) ==
         RIVERGRAM_STATUS_MISALIGNED);
    x[4] = 4;
    union { float x[16]; rivergram_error error; } both = {{3, 0, 0, 5, 4, 0}};
    TRUE(rivergram_volume(both.x, 6, 2, 3, NULL, 0, &v, &both.error) == RIVERGRAM_STATUS_OVERLAP);
    TRUE(rivergram_volume(both.x, 16, 2, 8, NULL, 0, &v, &both.error) == RIVERGRAM_STATUS_OVERLAP);
    TRUE(both.x[0] == 3 && both.x[4] == 4 && both.x[15] == 0);
    FAILS(rivergram_volume_gradient(x, 6, 2, 3, NULL, 6, NULL, 0, &v, &error), NULL_POINTER, "gradient");
    FAILS(rivergram_volume_gradient(x, 6, 2, 3, g, 5, NULL, 0, &v, &error), LENGTH, "gradient");
    FAILS(rivergram_volume_gradient(x, 6, 2, 3, x, 6, NULL, 0, &v, &error), OVERLAP, "gradient");
    OK(rivergram_volume_gradient(x, 6, 2, 3, g, 6, NULL, 0, NULL, &error));
    OK(rivergram_volume(x, 6, 2, 3, NULL, 0, &v, &error));
    TRUE(v == 12 && g[0] == 4);
    TRUE(rivergram_volume_workspace_len(8, 3) == 0 && rivergram_volume_workspace_len(9, 20) > 0);
}

typedef rivergram_status fixed_volume(const float *, size_t, size_t, float *, rivergram_error *);
typedef rivergram_status fixed_gradient(const float *, size_t, size_t, float *, size_t, float *, rivergram_error *);

/* Volumes of a fixed number of vectors: the errors, and the values of any number. */
static void volume_fixed(size_t k, fixed_volume *volume, fixed_gradient *gradient)
{
    float x[4 * 5], g[4 * 5], want[4 * 5], v = -1, all;
    const size_t len = k * 5;
    for (size_t i = 0; i < len; i++)
        x[i] = (float)(i * i % 7) - 2;
    FAILS(volume(NULL, len, 5, &v, &error), NULL_POINTER, "vectors");
    FAILS(volume(x, len, 5, NULL, &error), NULL_POINTER, "volume");
    FAILS(volume((const float *)((char *)x + 1), len, 5, &v, &error), MISALIGNED, "vectors");
    FAILS(volume(x, len, 5, x + len - 1, &error), OVERLAP, "volume");
    FAILS(volume(x, SIZE_MAX, 5, &v, &error), LENGTH, "vectors");
    FAILS(volume(x, 0, 0, &v, &error), SIZE, "d");
    FAILS(volume(x, len, SIZE_MAX / 2, &v, &error), LENGTH, "vectors");
    FAILS(gradient(NULL, len, 5, g, len, &v, &error), NULL_POINTER, "vectors");
    FAILS(gradient(x, len, 5, NULL, len, &v, &error), NULL_POINTER, "gradient");
    FAILS(gradient(x, len, 5, g, len - 1, &v, &error), LENGTH, "gradient");
    FAILS(gradient(x, len, 5, x, len, &v, &error), OVERLAP, "gradient");
    FAILS(gradient(x, len, 5, g, len, g, &error), OVERLAP, "gradient");
    TRUE(v == -1);
    (void)volume(x, len - 1, 5, &v, &error);
    TRUE(error.need == len && error.have == len - 1);
    OK(volume(x, len, 5, &v, &error));
    OK(rivergram_volume_gradient(x, len, k, 5, want, len, NULL, 0, &all, &error));
    TRUE(v == all && v > 0);
    v = -1;
    OK(gradient(x, len, 5, g, len, &v, &error));
    TRUE(v == all && memcmp(g, want, len * sizeof *g) == 0);
    OK(gradient(x, len, 5, g, len, NULL, &error));
    OK(volume(x, k, 1, &v, &error));
    TRUE(v == 0);
    x[len - 1] = NAN;
    FAILS(volume(x, len, 5, &v, &error), NOT_FINITE, "vectors");
    (void)gradient(x, len, 5, g, len, &v, &error);
    TRUE(error.status == RIVERGRAM_STATUS_NOT_FINITE && error.index[0] == k - 1);
}

static void volume_i8(void)
{
    const int8_t n[6] = {3, 0, 0, 5, 4, 0};
    float x[3] = {1, -2, INFINITY}, scales[2] = {1, 0.5f}, v;
    int8_t to[3];
    FAILS(rivergram_volume_i8(NULL, 6, scales, 2, 3, &v, &error), NULL_POINTER, "vectors");
    FAILS(rivergram_volume_i8(n, 6, NULL, 2, 3, &v, &error), NULL_POINTER, "scales");
    FAILS(rivergram_volume_i8(n, 6, scales, 2, 3, NULL, &error), NULL_POINTER, "volume");
    FAILS(rivergram_volume_i8(n, 5, scales, 2, 3, &v, &error), LENGTH, "vectors");
    FAILS(rivergram_volume_i8(n, 6, scales, 2, 3, scales, &error), OVERLAP, "volume");
    OK(rivergram_volume_i8(n, 6, scales, 2, 3, &v, &error));
    TRUE(v == 6);
    FAILS(rivergram_volume_i8(n, 0, scales, 0, 3, &v, &error), SIZE, "scales");
    FAILS(rivergram_volume_i8(n, 0, scales, 2, 0, &v, &error), SIZE, "d");
    scales[1] = -1;
    FAILS(rivergram_volume_i8(n, 6, scales, 2, 3, &v, &error), OPTION, "scales");
    FAILS(rivergram_quantise(x, 3, to, 3, scales, &error), NOT_FINITE, "x");
    (void)rivergram_quantise(x, 3, to, 3, scales, &error);
    TRUE(error.index[0] == 2 && error.index[1] == RIVERGRAM_NONE);
    FAILS(rivergram_quantise(x, 3, to, 2, scales, &error), LENGTH, "quantised");
    OK(rivergram_quantise(x, 2, to, 2, scales, &error));
    TRUE(to[1] == -127);
}

static void gram(void)
{
    float x[8] = {1, 0.1f, 0, 1, 1, 0, 0.2f, 1}, g[8], w[RIVERGRAM_GRAM_WORKSPACE_LEN(2, 2, 2)];
    const size_t len = sizeof w / sizeof *w;
    uint8_t present[4] = {1, 1, 1, 1};
    rivergram_gram_options o;
    rivergram_gram_report r;
    FAILS(rivergram_gram_options_paper(0, NULL, &error), NULL_POINTER, "options");
    OK(rivergram_gram_options_paper(0, &o, &error));
#define LOSS(o, x, xl, p, pl, g, gl, w, wl, r) \
    rivergram_gram_loss(o, x, xl, p, pl, 2, 2, 2, g, gl, w, wl, r, &error)
    FAILS(LOSS(NULL, x, 8, NULL, 0, g, 8, w, len, &r), NULL_POINTER, "options");
    FAILS(LOSS(&o, NULL, 8, NULL, 0, g, 8, w, len, &r), NULL_POINTER, "vectors");
    FAILS(LOSS(&o, x, 8, NULL, 0, NULL, 8, w, len, &r), NULL_POINTER, "gradient");
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, NULL, len, &r), NULL_POINTER, "workspace");
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, NULL), NULL_POINTER, "report");
    FAILS(LOSS(&o, x, 7, NULL, 0, g, 7, w, len, &r), LENGTH, "vectors");
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 7, w, len, &r), LENGTH, "gradient");
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len - 1, &r), LENGTH, "workspace");
    FAILS(LOSS(&o, x, 8, present, 3, g, 8, w, len, &r), LENGTH, "present");
    FAILS(LOSS(&o, x, 8, NULL, 0, x, 8, w, len, &r), OVERLAP, "gradient");
    FAILS(LOSS(&o, x, 8, NULL, 0, w, 8, w, len, &r), OVERLAP, "gradient");
    OK(LOSS(&o, x, 8, present, 4, g, 8, w, len, &r));
    TRUE(r.loss > 0 && r.missing == 0);
    present[3] = 2;
    FAILS(LOSS(&o, x, 8, present, 4, g, 8, w, len, &r), OPTION, "present");
    present[3] = 0;
    OK(LOSS(&o, x, 8, present, 4, g, 8, w, len, &r));
    TRUE(r.missing == 1);
    x[3] = INFINITY;
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r), NOT_FINITE, "vectors");
    (void)LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r);
    TRUE(error.index[0] == 0 && error.index[1] == 1);
    x[2] = x[3] = 0;
    o.zero_rows = RIVERGRAM_ZERO_ROWS_ERROR;
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r), ZERO_ROW, "vectors");
    o.zero_rows = 3;
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r), OPTION, "zero_rows");
    o.zero_rows = RIVERGRAM_ZERO_ROWS_MISSING;
    o.term = 9;
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r), OPTION, "term");
    o.term = RIVERGRAM_TERM_VOLUME;
    o.anchor = 2;
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r), OPTION, "anchor");
    o.anchor = RIVERGRAM_NONE;
    OK(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r));
    o.temperature = NAN;
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r), OPTION, "temperature");
    o.temperature = 1;
    o.normalise = 7;
    FAILS(LOSS(&o, x, 8, NULL, 0, g, 8, w, len, &r), OPTION, "normalise");
    FAILS(rivergram_gram_loss(&o, x, 8, NULL, 0, 9, 2, 2, g, 8, w, len, &r, &error), OPTION, "normalise");
    o.normalise = 1;
    FAILS(rivergram_gram_loss(&o, x, 8, NULL, 0, 9, 2, 2, g, 8, w, len, &r, &error), SIZE, "k");
    FAILS(rivergram_gram_loss(&o, x, 0, NULL, 0, 2, 0, 2, g, 0, w, len, &r, &error), SIZE, "rows");
    for (size_t k = 2; k <= 8; k++)
        for (size_t rows = 1; rows < 6; rows++)
            for (size_t d = 1; d < 40; d += 13)
                TRUE(rivergram_gram_workspace_len(k, rows, d) == RIVERGRAM_GRAM_WORKSPACE_LEN(k, rows, d));
}

static void eisl(void)
{
    const float start[12] = {0, 0, 9, 9, 0, 0, 0, 9, 0, 0, 0, 1};
    float x[12], per_order[2], w[RIVERGRAM_EISL_WORKSPACE_LEN(4, 2, 2)];
    const size_t len = sizeof w / sizeof *w;
    int32_t labels[2] = {0, 1};
    size_t lens[1] = {2};
    rivergram_order orders[9] = {{1, 0.8f}, {2, 0.2f}};
    rivergram_eisl_options o;
    rivergram_eisl_losses r, same;
    rivergram_eisl_batch b = {.batch = 1, .positions = 4, .targets = 2, .vocabulary = 3, .labels = labels,
                              .labels_len = 2};
    memcpy(x, start, sizeof x);
    FAILS(rivergram_eisl_options_paper(orders, 2, NULL, &error), NULL_POINTER, "options");
    OK(rivergram_eisl_options_paper(orders, 2, &o, &error));
#define SEQ(o, b, x, xl, p, pl, w, wl, r) rivergram_eisl_loss_and_gradient(o, b, x, xl, p, pl, w, wl, r, &error)
    FAILS(SEQ(NULL, &b, x, 12, NULL, 0, w, len, &r), NULL_POINTER, "options");
    FAILS(SEQ(&o, NULL, x, 12, NULL, 0, w, len, &r), NULL_POINTER, "batch");
    FAILS(SEQ(&o, &b, NULL, 12, NULL, 0, w, len, &r), NULL_POINTER, "x");
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, NULL, len, &r), NULL_POINTER, "workspace");
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, NULL), NULL_POINTER, "losses");
    FAILS(SEQ(&o, &b, x, 11, NULL, 0, w, len, &r), LENGTH, "x");
    FAILS(SEQ(&o, &b, x, 12, per_order, 1, w, len, &r), LENGTH, "per_order");
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len - 1, &r), LENGTH, "workspace");
    FAILS(SEQ(&o, &b, x, 12, x, 2, w, len, &r), OVERLAP, "x");
    FAILS(SEQ(&o, &b, w, 12, NULL, 0, w, len, &r), OVERLAP, "x");
    TRUE(memcmp(x, start, sizeof x) == 0);
    b.labels = NULL;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), NULL_POINTER, "labels");
    b.labels = (const int32_t *)x;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), OVERLAP, "x");
    b.labels = labels;
    b.labels_len = 1;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), LENGTH, "labels");
    b.labels_len = 2;
    labels[1] = -7;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), TOKEN, "labels");
    (void)SEQ(&o, &b, x, 12, NULL, 0, w, len, &r);
    TRUE((int64_t)error.have == -7 && error.index[1] == 1);
    labels[1] = 1;
    lens[0] = 5;
    b.output_lens = lens;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), ROW_LENGTH, "output_lens");
    lens[0] = 3;
    FAILS(SEQ((o.orders = NULL, &o), &b, x, 12, NULL, 0, w, len, &r), NULL_POINTER, "orders");
    o.orders = orders;
    o.orders_len = 9;
    (void)SEQ(&o, &b, x, 12, NULL, 0, w, len, &r);
    TRUE(error.status == RIVERGRAM_STATUS_LENGTH && error.need == RIVERGRAM_ORDERS_MAX);
    o.orders_len = 2;
    orders[1].n = 0;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), OPTION, "orders");
    orders[1].n = 2;
    const struct { uint32_t *field; const char *name; } enums[] = {
        {&o.objective, "objective"}, {&o.select, "select"}, {&o.axis, "axis"}, {&o.padding, "padding"},
        {&o.has_pad_id, "has_pad_id"}, {&o.input, "input"},
    };
    for (size_t i = 0; i < sizeof enums / sizeof *enums; i++) {
        const uint32_t was = *enums[i].field;
        *enums[i].field = 77;
        FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), OPTION, enums[i].name);
        *enums[i].field = was;
    }
    const struct { float *field; const char *name; } numbers[] = {
        {&o.temperature, "temperature"}, {&o.clamp, "clamp"}, {&o.label_smoothing, "label_smoothing"},
        {&o.ce_factor, "ngram_factor or ce_factor"}, {&orders[0].weight, "weight"},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const float was = *numbers[i].field;
        *numbers[i].field = NAN;
        FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), OPTION, numbers[i].name);
        *numbers[i].field = was;
    }
    x[5] = NAN;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), NOT_FINITE, "x");
    (void)SEQ(&o, &b, x, 12, NULL, 0, w, len, &r);
    TRUE(error.index[1] == 1 && error.index[2] == 2);
    x[3] = x[4] = x[5] = -INFINITY;
    FAILS(SEQ(&o, &b, x, 12, NULL, 0, w, len, &r), NO_PROBABILITY, "x");
    memcpy(x, start, sizeof x);
    OK(rivergram_eisl_loss(&o, &b, x, 12, per_order, 2, w, len, &same, &error));
    TRUE(memcmp(x, start, sizeof x) == 0);
    OK(SEQ(&o, &b, x, 12, per_order, 2, w, len, &r));
    TRUE(r.total == same.total && memcmp(x, start, sizeof x) != 0);
    for (size_t t = 1; t < 9; t++)
        for (size_t u = 1; u < 9; u++)
            TRUE(rivergram_eisl_workspace_len(t, u, 3) == RIVERGRAM_EISL_WORKSPACE_LEN(t, u, 3));
    for (size_t t = 1; t < 9; t++) {
        const rivergram_head head = {.input = 64, .output = 11};
        rivergram_trainer trainer = {.heads = &head, .heads_len = 1, .gradient_len = 1};
        const rivergram_eisl_batch sizes = {.batch = 4, .positions = t, .targets = 9 - t, .vocabulary = 11};
        size_t need = 0;
        OK(rivergram_eisl_options_paper(orders, 2, &o, &error));
        OK(rivergram_trainer_transcribe_workspace_len(&trainer, &o, &sizes, &need, &error));
        TRUE(need == RIVERGRAM_TRANSCRIBE_WORKSPACE_LEN(4, t, 9 - t, 11, 2));
        trainer.gradient_len = 0;
        OK(rivergram_trainer_transcribe_workspace_len(&trainer, &o, &sizes, &need, &error));
        TRUE(need == RIVERGRAM_LEAN_TRANSCRIBE_WORKSPACE_LEN(4, t, 9 - t, 64, 11, 2));
    }
}

static void wsds(void)
{
    uint64_t budgets[2] = {50, 100};
    rivergram_wsds s, copy, garbage;
    rivergram_wsds_settings o;
    rivergram_position p;
    uint8_t bytes[RIVERGRAM_WSDS_SAVED_LEN + 1];
    float rate = -1, ahead;
    bool changed;
    TRUE(sizeof s == RIVERGRAM_WSDS_SIZE && rivergram_wsds_size() == sizeof s);
    TRUE(rivergram_wsds_align() == _Alignof(rivergram_wsds));
    FAILS(rivergram_wsds_settings_named(9, 1, 0.1f, &o, &error), OPTION, "schedule");
    FAILS(rivergram_wsds_settings_named(0, 1, 0.1f, NULL, &error), NULL_POINTER, "settings");
    OK(rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_WSD_S, 1, 0.1f, &o, &error));
    FAILS(rivergram_wsds_init(NULL, sizeof s, &o, budgets, 2, &error), NULL_POINTER, "state");
    FAILS(rivergram_wsds_init(&s, sizeof s, NULL, budgets, 2, &error), NULL_POINTER, "settings");
    FAILS(rivergram_wsds_init(&s, sizeof s, &o, NULL, 2, &error), NULL_POINTER, "budgets");
    FAILS(rivergram_wsds_init(&s, sizeof s - 8, &o, budgets, 2, &error), LENGTH, "state_size");
    FAILS(rivergram_wsds_init((rivergram_wsds *)((char *)&s + 1), sizeof s, &o, budgets, 2, &error), MISALIGNED,
          "state");
    FAILS(rivergram_wsds_init(&s, sizeof s, &o, s.opaque, 2, &error), OVERLAP, "state");
    budgets[1] = 50;
    FAILS(rivergram_wsds_init(&s, sizeof s, &o, budgets, 2, &error), BUDGET, "budgets");
    (void)rivergram_wsds_init(&s, sizeof s, &o, budgets, 2, &error);
    TRUE(error.index[0] == 1 && error.need == 51 && error.have == 50);
    budgets[1] = 100;
    o.warmup = 49;
    FAILS(rivergram_wsds_init(&s, sizeof s, &o, budgets, 2, &error), WARMUP, "budgets");
    o.warmup = 0;
    o.decay_amount = UINT64_MAX;
    FAILS(rivergram_wsds_init(&s, sizeof s, &o, budgets, 2, &error), OPTION, "decay_amount");
    o.decay_amount = 100000;
    const struct { float *field; const char *name; } numbers[] = {
        {&o.peak, "peak"}, {&o.floor, "floor"}, {&o.init, "init"},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const float was = *numbers[i].field;
        *numbers[i].field = NAN;
        FAILS(rivergram_wsds_init(&s, sizeof s, &o, budgets, 2, &error), OPTION, numbers[i].name);
        *numbers[i].field = was;
    }
    const struct { uint32_t *field; const char *name; } enums[] = {
        {&o.warmup_shape, "warmup_shape"}, {&o.warmup_edge, "warmup_edge"}, {&o.stable, "stable"},
        {&o.shape, "shape"}, {&o.decay, "decay"}, {&o.decay_edge, "decay_edge"}, {&o.after, "after"},
    };
    for (size_t i = 0; i < sizeof enums / sizeof *enums; i++) {
        const uint32_t was = *enums[i].field;
        *enums[i].field = 77;
        FAILS(rivergram_wsds_init(&s, sizeof s, &o, budgets, 2, &error), OPTION, enums[i].name);
        *enums[i].field = was;
    }
    memset(&garbage, 0x5a, sizeof garbage);
    FAILS(rivergram_wsds_advance(&garbage, 1, &rate, &error), NOT_A_STATE, "state");
    OK(rivergram_wsds_init(&s, sizeof s, &o, budgets, 2, &error));
    memcpy(&garbage, &s, sizeof s - sizeof s.opaque[0] * 8);
    memset((char *)&garbage + 64, 0x5a, sizeof garbage - 64);
    FAILS(rivergram_wsds_advance(&garbage, 1, &rate, &error), NOT_A_STATE, "state");
    /* A single bit that somebody else wrote is found: codes of options, the pointer to the budgets, the progress. */
    for (size_t word = 0; word < 19; word++) {
        copy = s;
        copy.opaque[word] ^= 1;
        FAILS(rivergram_wsds_advance(&copy, 1, &rate, &error), NOT_A_STATE, "state");
        FAILS(rivergram_wsds_save(&copy, bytes, sizeof bytes, &error), NOT_A_STATE, "state");
        FAILS(rivergram_wsds_set_budgets(&copy, budgets, 2, &error), NOT_A_STATE, "state");
    }
    FAILS(rivergram_wsds_advance(NULL, 1, &rate, &error), NULL_POINTER, "state");
    FAILS(rivergram_wsds_advance(&s, 1, (float *)&s, &error), OVERLAP, "state");
    /* What was wrong is not written over an argument. */
    TRUE(rivergram_wsds_advance(&s, 1, NULL, (rivergram_error *)&s) == RIVERGRAM_STATUS_OVERLAP);
    /* The budgets that a state holds on to are memory of each call with it. */
    FAILS(rivergram_wsds_advance(&s, 1, (float *)budgets, &error), OVERLAP, "rate");
    FAILS(rivergram_wsds_rate_at(&s, 0, (float *)budgets, &error), OVERLAP, "rate");
    FAILS(rivergram_wsds_save(&s, (uint8_t *)budgets, sizeof budgets, &error), OVERLAP, "bytes");
    TRUE(budgets[0] == 50 && budgets[1] == 100);
    OK(rivergram_wsds_position(&s, &p, &error));
    FAILS(rivergram_wsds_rate_at(&s, 0, NULL, &error), NULL_POINTER, "rate");
    FAILS(rivergram_wsds_position(&s, NULL, &error), NULL_POINTER, "position");
    TRUE(rate == -1);
    OK(rivergram_wsds_rate_at(&s, 47, &ahead, &error));
    for (int t = 0; t < 48; t++)
        OK(rivergram_wsds_advance(&s, 1, &rate, &error));
    TRUE(rate == ahead && rate < 1);
    OK(rivergram_wsds_cancel_decay(&s, &changed, &error));
    TRUE(changed);
    OK(rivergram_wsds_extend(&s, 5, &changed, &error));
    TRUE(changed);
    OK(rivergram_wsds_request_decay(&s, 10, &changed, &error));
    TRUE(changed);
    OK(rivergram_wsds_resume_to_peak(&s, 0, &changed, &error));
    TRUE(!changed);
    OK(rivergram_wsds_position(&s, &p, &error));
    TRUE(p.step == 48 && p.phase == RIVERGRAM_PHASE_DECAY && p.remaining == 10);
    OK(rivergram_wsds_request_decay_of_seen(&s, 250000, &changed, &error));
    OK(rivergram_wsds_position(&s, &p, &error));
    TRUE(changed && p.phase == RIVERGRAM_PHASE_DECAY && p.remaining == 12);
    FAILS(rivergram_wsds_request_decay_of_seen(&garbage, 1, &changed, &error), NOT_A_STATE, "state");
    OK(rivergram_wsds_request_decay(&s, 10, &changed, &error));
    const uint64_t more[3] = {50, 100, 200}, fewer[1] = {40};
    FAILS(rivergram_wsds_set_budgets(&s, NULL, 3, &error), NULL_POINTER, "budgets");
    FAILS(rivergram_wsds_set_budgets(&garbage, more, 3, &error), NOT_A_STATE, "state");
    FAILS(rivergram_wsds_set_budgets(&s, fewer, 1, &error), OTHER_SETTINGS, "budgets");
    OK(rivergram_wsds_rate_at(&s, 195, &ahead, &error));
    OK(rivergram_wsds_set_budgets(&s, more, 3, &error));
    OK(rivergram_wsds_rate_at(&s, 195, &rate, &error));
    TRUE(rate != ahead);
    OK(rivergram_wsds_set_budgets(&s, budgets, 2, &error));
    OK(rivergram_wsds_rate_at(&s, 195, &rate, &error));
    TRUE(rate == ahead);
    FAILS(rivergram_wsds_save(&s, NULL, sizeof bytes, &error), NULL_POINTER, "bytes");
    FAILS(rivergram_wsds_save(&s, bytes, sizeof bytes - 2, &error), LENGTH, "bytes");
    FAILS(rivergram_wsds_save(&s, (uint8_t *)&s, sizeof s, &error), OVERLAP, "bytes");
    OK(rivergram_wsds_save(&s, bytes, sizeof bytes, &error));
    OK(rivergram_wsds_init(&copy, sizeof copy, &o, budgets, 2, &error));
    OK(rivergram_wsds_load(&copy, bytes, sizeof bytes, &error));
    OK(rivergram_wsds_advance(&s, 1, &rate, &error));
    OK(rivergram_wsds_advance(&copy, 1, &ahead, &error));
    TRUE(rate == ahead);
    FAILS(rivergram_wsds_load(&garbage, bytes, sizeof bytes, &error), NOT_A_STATE, "state");
    FAILS(rivergram_wsds_load(&s, NULL, 9, &error), NULL_POINTER, "bytes");
    FAILS(rivergram_wsds_load(&s, bytes, 20, &error), TRUNCATED, "bytes");
    bytes[40] ^= 1;
    FAILS(rivergram_wsds_load(&s, bytes, sizeof bytes, &error), CHECKSUM, "bytes");
    bytes[40] ^= 1;
    bytes[4] = 9;
    FAILS(rivergram_wsds_load(&s, bytes, sizeof bytes, &error), FORMAT_VERSION, "bytes");
    bytes[4] = 2;
    bytes[0] = 'x';
    FAILS(rivergram_wsds_load(&s, bytes, sizeof bytes, &error), NOT_SAVED, "bytes");
    bytes[0] = 'R';
    OK(rivergram_wsds_load(&s, bytes, sizeof bytes, &error));
    OK(rivergram_wsds_init(&copy, sizeof copy, &o, budgets, 1, &error));
    FAILS(rivergram_wsds_load(&copy, bytes, sizeof bytes, &error), OTHER_SETTINGS, "budgets");
}

static void heads(void)
{
    rivergram_head h = {.input = 2, .output = 2};
    rivergram_head_lens lens;
    rivergram_optimizer o;
    float p[RIVERGRAM_HEAD_LEN(2, 0, 2)] = {3, 0, 0, 4, 0, 0}, x[2] = {1, 1}, y[2], c[1], dy[2] = {1, 0}, g[6] = {0},
          m[12] = {0};
    size_t len;
    OK(rivergram_head_lens_of(&h, 1, &lens, &error));
    TRUE(lens.parameters == 6 && lens.cache == 1 && lens.scratch == 0);
    FAILS(rivergram_head_lens_of(NULL, 1, &lens, &error), NULL_POINTER, "head");
    FAILS(rivergram_head_lens_of(&h, 1, NULL, &error), NULL_POINTER, "lens");
#define FORWARD(h, p, pl, x, xl, y, yl, c, cl) rivergram_head_forward(h, p, pl, x, xl, 1, y, yl, c, cl, &error)
    FAILS(FORWARD(NULL, p, 6, x, 2, y, 2, c, 1), NULL_POINTER, "head");
    FAILS(FORWARD(&h, NULL, 6, x, 2, y, 2, c, 1), NULL_POINTER, "parameters");
    FAILS(FORWARD(&h, p, 6, NULL, 2, y, 2, c, 1), NULL_POINTER, "x");
    FAILS(FORWARD(&h, p, 6, x, 2, NULL, 2, c, 1), NULL_POINTER, "y");
    FAILS(FORWARD(&h, p, 6, x, 2, y, 2, NULL, 1), NULL_POINTER, "cache");
    FAILS(FORWARD(&h, p, 5, x, 2, y, 2, c, 1), LENGTH, "parameters");
    FAILS(FORWARD(&h, p, 6, x, 1, y, 2, c, 1), LENGTH, "x");
    FAILS(FORWARD(&h, p, 6, x, 2, y, 1, c, 1), LENGTH, "y");
    FAILS(FORWARD(&h, p, 6, x, 2, y, 2, c, 0), LENGTH, "cache");
    FAILS(FORWARD(&h, p, 6, x, 2, x, 2, c, 1), OVERLAP, "y");
    x[1] = NAN;
    FAILS(FORWARD(&h, p, 6, x, 2, y, 2, c, 1), NOT_FINITE, "x");
    x[1] = 1;
    OK(FORWARD(&h, p, 6, x, 2, y, 2, c, 1));
    TRUE(y[0] == 3 && y[1] == 4);
    h.input = 0;
    FAILS(FORWARD(&h, p, 6, x, 2, y, 2, c, 1), SIZE, "heads");
    h.input = 2;
#define BACKWARD(p, x, y, c, dy, dl, g, gl) \
    rivergram_head_backward(&h, p, 6, x, 2, 1, y, 2, c, 1, dy, dl, g, gl, NULL, 0, &error)
    FAILS(BACKWARD(NULL, x, y, c, dy, 2, g, 6), NULL_POINTER, "parameters");
    FAILS(BACKWARD(p, NULL, y, c, dy, 2, g, 6), NULL_POINTER, "x");
    FAILS(BACKWARD(p, x, NULL, c, dy, 2, g, 6), NULL_POINTER, "y");
    FAILS(BACKWARD(p, x, y, NULL, dy, 2, g, 6), NULL_POINTER, "cache");
    FAILS(BACKWARD(p, x, y, c, NULL, 2, g, 6), NULL_POINTER, "dy");
    FAILS(BACKWARD(p, x, y, c, dy, 2, NULL, 6), NULL_POINTER, "gradient");
    FAILS(BACKWARD(p, x, y, c, dy, 1, g, 6), LENGTH, "dy");
    FAILS(BACKWARD(p, x, y, c, dy, 2, g, 5), LENGTH, "gradient");
    FAILS(BACKWARD(p, x, y, c, dy, 2, p, 6), OVERLAP, "gradient");
    OK(BACKWARD(p, x, y, c, dy, 2, g, 6));
    TRUE(g[0] == 1 && g[4] == 1 && g[5] == 0);
    g[5] = NAN;
    FAILS(BACKWARD(p, x, y, c, dy, 2, g, 6), NOT_FINITE, "gradient");
    g[5] = 0;
    /* What a head that does not normalise leaves of its cache is not looked at. */
    c[0] = NAN;
    dy[0] = 0;
    OK(BACKWARD(p, x, y, c, dy, 2, g, 6));
    h.normalise = 1;
    FAILS(BACKWARD(p, x, y, c, dy, 2, g, 6), NOT_FINITE, "cache");
    h.normalise = 0;
    TRUE(g[0] == 1 && g[4] == 1 && g[5] == 0);
    {
        const rivergram_head deep = {.input = 2, .hidden = 1, .output = 2};
        float all[RIVERGRAM_HEAD_LEN(2, 1, 2)] = {1, 1}, to[RIVERGRAM_HEAD_LEN(2, 1, 2)] = {0}, kept[2] = {NAN, NAN},
              scratch[1];
        (void)rivergram_head_backward(&deep, all, 7, x, 2, 1, y, 2, kept, 2, dy, 2, to, 7, scratch, 1, &error);
        TRUE(error.status == RIVERGRAM_STATUS_NOT_FINITE && error.index[0] == 1);
    }
    FAILS(rivergram_optimizer_named(3, &o, &error), OPTION, "kind");
    FAILS(rivergram_optimizer_named(1, NULL, &error), NULL_POINTER, "optimizer");
    OK(rivergram_optimizer_named(RIVERGRAM_OPTIMIZER_KIND_ADAM_W, &o, &error));
    OK(rivergram_optimizer_moments_len(&o, 6, &len, &error));
    TRUE(len == 12);
#define UPDATE(o, r, n, p, g, gl, m, ml) rivergram_optimizer_update(o, r, n, p, 6, g, gl, m, ml, &error)
    FAILS(UPDATE(NULL, 1, 1, p, g, 6, m, 12), NULL_POINTER, "optimizer");
    FAILS(UPDATE(&o, 1, 1, NULL, g, 6, m, 12), NULL_POINTER, "parameters");
    FAILS(UPDATE(&o, 1, 1, p, NULL, 6, m, 12), NULL_POINTER, "gradient");
    FAILS(UPDATE(&o, 1, 1, p, g, 6, NULL, 12), NULL_POINTER, "moments");
    FAILS(UPDATE(&o, 1, 1, p, g, 5, m, 12), LENGTH, "gradient");
    FAILS(UPDATE(&o, 1, 1, p, g, 6, m, 11), LENGTH, "moments");
    FAILS(UPDATE(&o, 1, 1, p, p, 6, m, 12), OVERLAP, "parameters");
    FAILS(UPDATE(&o, NAN, 1, p, g, 6, m, 12), NOT_FINITE, "rate");
    FAILS(UPDATE(&o, 1, 0, p, g, 6, m, 12), OPTION, "update");
    OK(UPDATE(&o, 0.5f, 1, p, g, 6, m, 12));
    TRUE(p[0] < 2.6f && p[0] > 2.4f);
    o.beta1 = 1;
    FAILS(UPDATE(&o, 1, 1, p, g, 6, m, 12), OPTION, "optimizer");
}

static void trainer(void)
{
    rivergram_head h[9] = {{2, 0, 2, 1}, {2, 0, 2, 1}};
    float p[12] = {1, 0.2f, 0.1f, 1, 0, 0, 0.7f, -0.7f, 0.7f, 0.7f, 0, 0}, g[12];
    float w[RIVERGRAM_ALIGN_WORKSPACE_LEN(2, 2, 2)], a[4] = {1, 0, 0, 1}, b[4] = {0.9f, 0.1f, 0.2f, 0.8f}, was[12];
    const float *inputs[2] = {a, b};
    size_t lens[2] = {4, 4};
    uint8_t bytes[512];
    rivergram_wsds schedule;
    rivergram_wsds_settings settings;
    rivergram_gram_options o;
    rivergram_step step;
    rivergram_trainer_lens all;
    rivergram_trainer t = {.heads = h, .heads_len = 2, .clip = INFINITY, .parameters = p, .parameters_len = 12,
                           .gradient = g, .gradient_len = 12, .workspace = w,
                           .workspace_len = sizeof w / sizeof *w, .schedule = &schedule};
    OK(rivergram_gram_options_paper(0, &o, &error));
    o.normalise = 0;
    OK(rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_CONSTANT, 0.001f, 0, &settings, &error));
    memset(&schedule, 0, sizeof schedule);
#define ALIGN(t, o, i, il, n, s) rivergram_trainer_align(t, o, i, il, n, NULL, 0, 2, s, NULL, &error)
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), NOT_A_STATE, "schedule");
    OK(rivergram_wsds_init(&schedule, sizeof schedule, &settings, NULL, 0, &error));
    OK(rivergram_trainer_lens_of(&t, 2, &all, &error));
    TRUE(all.parameters == 12 && all.moments == 0 && all.align_workspace == sizeof w / sizeof *w);
    TRUE(all.saved <= sizeof bytes);
    for (size_t rows = 1; rows < 20; rows += 3) {
        OK(rivergram_trainer_lens_of(&t, rows, &all, &error));
        TRUE(all.align_workspace == RIVERGRAM_ALIGN_WORKSPACE_LEN(2, rows, 2));
        TRUE(all.lean_align_workspace == RIVERGRAM_LEAN_ALIGN_WORKSPACE_LEN(2, rows, 2, 2));
    }
    FAILS(ALIGN(NULL, &o, inputs, lens, 2, &step), NULL_POINTER, "trainer");
    FAILS(ALIGN(&t, NULL, inputs, lens, 2, &step), NULL_POINTER, "loss");
    FAILS(ALIGN(&t, &o, NULL, lens, 2, &step), NULL_POINTER, "inputs");
    FAILS(ALIGN(&t, &o, inputs, NULL, 2, &step), NULL_POINTER, "inputs_len");
    FAILS(ALIGN(&t, &o, inputs, lens, 2, NULL), NULL_POINTER, "step");
    FAILS(ALIGN(&t, &o, inputs, lens, 1, &step), HEAD, "inputs");
    memcpy(was, p, sizeof p);
    TRUE(rivergram_trainer_align(&t, &o, inputs, lens, 2, NULL, 0, 2, &step, NULL, (rivergram_error *)(void *)&t) ==
         RIVERGRAM_STATUS_OVERLAP);
    TRUE(t.heads == h && t.heads_len == 2);
    const rivergram_trainer good = t;
#define BROKEN(change, status, name) \
    do { change; FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), status, name); t = good; } while (0)
    BROKEN(t.heads = NULL, NULL_POINTER, "heads");
    BROKEN(t.heads_len = 9, LENGTH, "heads");
    BROKEN(t.parameters = NULL, NULL_POINTER, "parameters");
    BROKEN(t.gradient = NULL, NULL_POINTER, "gradient");
    BROKEN(t.workspace = NULL, NULL_POINTER, "workspace");
    BROKEN(t.schedule = NULL, NULL_POINTER, "schedule");
    BROKEN(t.moments_len = 3, NULL_POINTER, "moments");
    BROKEN(t.parameters_len = 11, LENGTH, "parameters");
    BROKEN(t.gradient_len = 11, LENGTH, "gradient");
    /* With one anchor a step needs (heads - 1) * rows * d less than the constant. */
    BROKEN(t.workspace_len -= 4 + 1, LENGTH, "workspace");
    BROKEN(t.gradient = p, OVERLAP, "parameters");
    BROKEN(t.gradient = w, OVERLAP, "gradient");
    BROKEN(t.clip = -1, OPTION, "clip");
    BROKEN(t.optimizer.kind = 5, OPTION, "kind");
    BROKEN(t.optimizer.momentum = 2, OPTION, "optimizer");
    lens[1] = 3;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), LENGTH, "inputs");
    lens[1] = 4;
    inputs[1] = NULL;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), NULL_POINTER, "inputs");
    inputs[1] = b;
    h[1].output = 3;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), LENGTH, "parameters");
    h[1].output = 2;
    b[2] = NAN;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), NOT_FINITE, "vectors");
    b[2] = 0.2f;
    TRUE(t.updates == 0 && memcmp(was, p, sizeof p) == 0);
    OK(rivergram_trainer_save(&t, bytes, sizeof bytes, &error));
    OK(ALIGN(&t, &o, inputs, lens, 2, &step));
    TRUE(t.updates == 1 && step.rate == 0.001f && memcmp(was, p, sizeof p) != 0);
    FAILS(rivergram_trainer_save(&t, bytes, all.saved - 1, &error), LENGTH, "bytes");
    FAILS(rivergram_trainer_save(&t, NULL, 9, &error), NULL_POINTER, "bytes");
    FAILS(rivergram_trainer_save(&t, (uint8_t *)p, sizeof p, &error), OVERLAP, "bytes");
    FAILS(rivergram_trainer_load(&t, bytes, 30, &error), TRUNCATED, "bytes");
    t.clip = 1;
    FAILS(rivergram_trainer_load(&t, bytes, sizeof bytes, &error), OTHER_SETTINGS, "heads or optimizer");
    t.clip = INFINITY;
    OK(rivergram_trainer_load(&t, bytes, sizeof bytes, &error));
    TRUE(t.updates == 0 && memcmp(was, p, sizeof p) == 0);
    /* Moments that are not finite are found before they reach a parameter, and a load mends them. */
    float m[24] = {0};
    t.moments = m;
    t.moments_len = 24;
    OK(rivergram_optimizer_named(RIVERGRAM_OPTIMIZER_KIND_ADAM_W, &t.optimizer, &error));
    OK(rivergram_trainer_save(&t, bytes, sizeof bytes, &error));
    m[23] = NAN;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), NOT_FINITE, "moments");
    (void)ALIGN(&t, &o, inputs, lens, 2, &step);
    TRUE(error.index[0] == 23 && t.updates == 0 && memcmp(was, p, sizeof p) == 0);
    OK(rivergram_trainer_load(&t, bytes, sizeof bytes, &error));
    TRUE(m[23] == 0);
    OK(ALIGN(&t, &o, inputs, lens, 2, &step));
    /* The budgets that its schedule holds on to are memory of each call with a trainer. */
    union { uint64_t budgets[6]; float numbers[12]; uint8_t bytes[48]; } shared = {{100}};
    OK(rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_WSD_S, 0.001f, 0.0001f, &settings, &error));
    OK(rivergram_wsds_init(&schedule, sizeof schedule, &settings, shared.budgets, 1, &error));
    OK(rivergram_trainer_save(&t, bytes, sizeof bytes, &error));
    t.parameters = shared.numbers;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), OVERLAP, "parameters");
    FAILS(rivergram_trainer_save(&t, bytes, sizeof bytes, &error), OVERLAP, "parameters");
    FAILS(rivergram_trainer_load(&t, bytes, sizeof bytes, &error), OVERLAP, "parameters");
    t.parameters = p;
    t.gradient = shared.numbers;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, &step), OVERLAP, "gradient");
    t.gradient = g;
    FAILS(ALIGN(&t, &o, inputs, lens, 2, (rivergram_step *)(void *)&shared), OVERLAP, "step");
    FAILS(rivergram_trainer_save(&t, shared.bytes, sizeof shared, &error), OVERLAP, "bytes");
    TRUE(shared.budgets[0] == 100);
    OK(ALIGN(&t, &o, inputs, lens, 2, &step));
}

/* Features in 8 bits and no gradient: the errors, and the parameters of a step of the same features as floats. */
static void packed(void)
{
    const rivergram_head h[2] = {{2, 0, 2, 1}, {2, 0, 2, 1}};
    const int8_t a[4] = {100, 0, 5, 90}, b[4] = {90, 10, 20, 80};
    const float start[12] = {1, 0.2f, 0.1f, 1, 0, 0, 0.7f, -0.7f, 0.7f, 0.7f, 0, 0};
    rivergram_features_i8 in[2] = {{a, 4, 0.5f}, {b, 4, 0.25f}};
    float p[12], want[12], w[RIVERGRAM_LEAN_ALIGN_WORKSPACE_LEN(2, 2, 2, 2)], x[2][4];
    const float *inputs[2] = {x[0], x[1]};
    const size_t lens[2] = {4, 4};
    rivergram_wsds schedule;
    rivergram_wsds_settings settings;
    rivergram_gram_options o;
    rivergram_step step;
    rivergram_trainer t = {.heads = h, .heads_len = 2, .clip = INFINITY, .parameters = p, .parameters_len = 12,
                           .workspace = w, .workspace_len = sizeof w / sizeof *w, .schedule = &schedule};
    OK(rivergram_gram_options_paper(0, &o, &error));
    o.normalise = 0;
    OK(rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_CONSTANT, 0.125f, 0, &settings, &error));
    OK(rivergram_wsds_init(&schedule, sizeof schedule, &settings, NULL, 0, &error));
    memcpy(p, start, sizeof p);
    for (size_t i = 0; i < 4; i++) {
        x[0][i] = 0.5f * (float)a[i];
        x[1][i] = 0.25f * (float)b[i];
    }
    OK(rivergram_trainer_align(&t, &o, inputs, lens, 2, NULL, 0, 2, &step, NULL, &error));
    memcpy(want, p, sizeof p);
    memcpy(p, start, sizeof p);
#define ALIGN_I8(t, o, i, n, s) rivergram_trainer_align_i8(t, o, i, n, NULL, 0, 2, s, NULL, &error)
    FAILS(ALIGN_I8(NULL, &o, in, 2, &step), NULL_POINTER, "trainer");
    FAILS(ALIGN_I8(&t, NULL, in, 2, &step), NULL_POINTER, "loss");
    FAILS(ALIGN_I8(&t, &o, NULL, 2, &step), NULL_POINTER, "inputs");
    FAILS(ALIGN_I8(&t, &o, in, 2, NULL), NULL_POINTER, "step");
    FAILS(ALIGN_I8(&t, &o, in, 1, &step), HEAD, "inputs");
    FAILS(ALIGN_I8(&t, &o, in, 9, &step), LENGTH, "inputs");
    FAILS(ALIGN_I8(&t, &o, (const rivergram_features_i8 *)(const void *)p, 2, &step), OVERLAP, "parameters");
    in[1].values_len = 3;
    FAILS(ALIGN_I8(&t, &o, in, 2, &step), LENGTH, "inputs");
    in[1].values_len = 4;
    in[1].values = NULL;
    FAILS(ALIGN_I8(&t, &o, in, 2, &step), NULL_POINTER, "inputs");
    in[1].values = (const int8_t *)w;
    FAILS(ALIGN_I8(&t, &o, in, 2, &step), OVERLAP, "workspace");
    in[1].values = b;
    in[1].scale = NAN;
    FAILS(ALIGN_I8(&t, &o, in, 2, &step), NOT_FINITE, "vectors");
    in[1].scale = 0.25f;
    TRUE(memcmp(p, start, sizeof p) == 0);
    OK(ALIGN_I8(&t, &o, in, 2, &step));
    TRUE(memcmp(p, want, sizeof p) == 0 && memcmp(p, start, sizeof p) != 0);
}

static void transcription(void)
{
    rivergram_head h = {.input = 2, .output = 3};
    float p[9] = {0.5f}, g[9], w[64], x[4] = {1, 0.5f, 0.2f, 1};
    int32_t labels[2] = {2, 1};
    rivergram_order order = {1, 1};
    rivergram_wsds schedule;
    rivergram_wsds_settings settings;
    rivergram_eisl_options o;
    rivergram_eisl_batch b = {.batch = 1, .positions = 2, .targets = 2, .vocabulary = 3, .labels = labels,
                              .labels_len = 2};
    rivergram_step first, second;
    size_t len;
    rivergram_trainer t = {.heads = &h, .heads_len = 1, .clip = INFINITY, .parameters = p, .parameters_len = 9,
                           .gradient = g, .gradient_len = 9, .workspace = w, .workspace_len = 64,
                           .schedule = &schedule};
    OK(rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_CONSTANT, 0.1f, 0, &settings, &error));
    OK(rivergram_wsds_init(&schedule, sizeof schedule, &settings, NULL, 0, &error));
    OK(rivergram_eisl_options_paper(&order, 1, &o, &error));
    OK(rivergram_trainer_transcribe_workspace_len(&t, &o, &b, &len, &error));
    TRUE(len > 0 && len <= 64);
    FAILS(rivergram_trainer_transcribe_workspace_len(&t, &o, &b, NULL, &error), NULL_POINTER, "len");
#define STEP(t, o, b, x, xl, s) rivergram_trainer_transcribe(t, o, b, x, xl, s, NULL, &error)
    FAILS(STEP(NULL, &o, &b, x, 4, &first), NULL_POINTER, "trainer");
    FAILS(STEP(&t, NULL, &b, x, 4, &first), NULL_POINTER, "loss");
    FAILS(STEP(&t, &o, NULL, x, 4, &first), NULL_POINTER, "batch");
    FAILS(STEP(&t, &o, &b, NULL, 4, &first), NULL_POINTER, "inputs");
    FAILS(STEP(&t, &o, &b, x, 4, NULL), NULL_POINTER, "step");
    FAILS(STEP(&t, &o, &b, x, 3, &first), LENGTH, "inputs");
    FAILS(STEP(&t, &o, &b, w, 4, &first), OVERLAP, "workspace");
    h.normalise = 1;
    FAILS(STEP(&t, &o, &b, x, 4, &first), HEAD, "heads");
    h.normalise = 0;
    x[0] = NAN;
    FAILS(STEP(&t, &o, &b, x, 4, &first), NOT_FINITE, "x");
    x[0] = 1;
    OK(STEP(&t, &o, &b, x, 4, &first));
    OK(STEP(&t, &o, &b, x, 4, &second));
    TRUE(second.loss < first.loss);
    const int8_t bytes[4] = {2, 1, 0, 2};
    rivergram_features_i8 in = {bytes, 4, 0.5f};
#define STEP_I8(t, o, b, in, s) rivergram_trainer_transcribe_i8(t, o, b, in, s, NULL, &error)
    FAILS(STEP_I8(NULL, &o, &b, &in, &first), NULL_POINTER, "trainer");
    FAILS(STEP_I8(&t, NULL, &b, &in, &first), NULL_POINTER, "loss");
    FAILS(STEP_I8(&t, &o, NULL, &in, &first), NULL_POINTER, "batch");
    FAILS(STEP_I8(&t, &o, &b, NULL, &first), NULL_POINTER, "inputs");
    FAILS(STEP_I8(&t, &o, &b, &in, NULL), NULL_POINTER, "step");
    in.values_len = 3;
    FAILS(STEP_I8(&t, &o, &b, &in, &first), LENGTH, "inputs");
    in.values_len = 4;
    in.values = NULL;
    FAILS(STEP_I8(&t, &o, &b, &in, &first), NULL_POINTER, "inputs");
    in.values = (const int8_t *)w;
    FAILS(STEP_I8(&t, &o, &b, &in, &first), OVERLAP, "workspace");
    in.values = bytes;
    in.scale = INFINITY;
    FAILS(STEP_I8(&t, &o, &b, &in, &first), NOT_FINITE, "x");
    in.scale = 0.5f;
    float kept[9], same[9];
    memcpy(kept, p, sizeof p);
    for (size_t i = 0; i < 4; i++)
        x[i] = 0.5f * (float)bytes[i];
    t.gradient = NULL;
    t.gradient_len = 0;
    OK(STEP(&t, &o, &b, x, 4, &first));
    memcpy(same, p, sizeof p);
    memcpy(p, kept, sizeof p);
    OK(STEP_I8(&t, &o, &b, &in, &second));
    TRUE(first.loss == second.loss && memcmp(p, same, sizeof p) == 0);
    float m[9] = {0};
    t.moments = m;
    t.moments_len = 9;
    t.optimizer.momentum = 0.5f;
    m[4] = INFINITY;
    FAILS(STEP(&t, &o, &b, x, 4, &first), NOT_FINITE, "moments");
    TRUE(t.updates == 4);
}

/* Averages of the weights. */
static void averages(void)
{
    rivergram_average a = {.kind = RIVERGRAM_AVERAGE_KIND_EMA, .beta = 0.5f, .copies = 2, .every = 1};
    float w[2] = {1, 2}, n[4] = {NAN, NAN, NAN, NAN}, got[2] = {0, 0};
    size_t len = 0;
    bool there = true;
    FAILS(rivergram_average_len(NULL, 2, &len, &error), NULL_POINTER, "average");
    FAILS(rivergram_average_len(&a, 2, NULL, &error), NULL_POINTER, "len");
    FAILS(rivergram_average_len(&a, 2, (size_t *)&a.copies, &error), OVERLAP, "len");
    a.beta = 1;
    FAILS(rivergram_average_len(&a, 2, &len, &error), OPTION, "beta");
    a.beta = 0.5f;
    a.kind = 3;
    FAILS(rivergram_average_update(&a, w, 2, n, 2, &error), OPTION, "kind");
    a.kind = RIVERGRAM_AVERAGE_KIND_EMA;
    OK(rivergram_average_len(&a, 2, &len, &error));
    TRUE(len == 2);
    OK(rivergram_average_read(&a, n, 2, got, 2, &there, &error));
    TRUE(!there && got[0] == 0);
    FAILS(rivergram_average_update(NULL, w, 2, n, 2, &error), NULL_POINTER, "average");
    FAILS(rivergram_average_update(&a, NULL, 2, n, 2, &error), NULL_POINTER, "weights");
    FAILS(rivergram_average_update(&a, w, 2, NULL, 2, &error), NULL_POINTER, "numbers");
    FAILS(rivergram_average_update(&a, w, 2, w, 2, &error), OVERLAP, "numbers");
    FAILS(rivergram_average_update(&a, w, 2, n, 3, &error), LENGTH, "numbers");
    w[1] = INFINITY;
    FAILS(rivergram_average_update(&a, w, 2, n, 2, &error), NOT_FINITE, "weights");
    (void)rivergram_average_update(&a, w, 2, n, 2, &error);
    TRUE(error.index[0] == 1 && a.updates == 0 && isnan(n[0]));
    w[1] = 2;
    /* What the numbers hold before the first update is not looked at, and what they hold after it is. */
    OK(rivergram_average_update(&a, w, 2, n, 2, &error));
    OK(rivergram_average_read(&a, n, 2, got, 2, NULL, &error));
    TRUE(a.updates == 1 && got[0] == 1 && got[1] == 2);
    FAILS(rivergram_average_read(NULL, n, 2, got, 2, NULL, &error), NULL_POINTER, "average");
    FAILS(rivergram_average_read(&a, n, 2, n, 2, NULL, &error), OVERLAP, "weights");
    FAILS(rivergram_average_read(&a, n, 2, got, 1, NULL, &error), LENGTH, "numbers");
    n[0] = NAN;
    FAILS(rivergram_average_update(&a, w, 2, n, 2, &error), NOT_FINITE, "numbers");
    FAILS(rivergram_average_read(&a, n, 2, got, 2, NULL, &error), NOT_FINITE, "numbers");
    /* Of the latest copies those that are there. */
    a = (rivergram_average){.kind = RIVERGRAM_AVERAGE_KIND_LAWA, .copies = 2, .every = 1};
    OK(rivergram_average_update(&a, w, 2, n, 4, &error));
    TRUE(n[0] == 1 && isnan(n[2]));
    OK(rivergram_average_read(&a, n, 4, got, 2, &there, &error));
    TRUE(there && got[1] == 2);
    n[1] = NAN;
    FAILS(rivergram_average_update(&a, w, 2, n, 4, &error), NOT_FINITE, "numbers");
    a.copies = 0;
    FAILS(rivergram_average_update(&a, w, 2, n, 4, &error), OPTION, "copies or every");
}

/* A reservoir of two samples. */
static void reservoirs(void)
{
    rivergram_reservoir r = {.capacity = 2, .seed = 7};
    float sample[2] = {1, 2}, kept[4] = {0};
    size_t row = 9, rows[2] = {9, 9}, count = 9;
    FAILS(rivergram_reservoir_offer(NULL, sample, 2, kept, 4, &row, &error), NULL_POINTER, "reservoir");
    FAILS(rivergram_reservoir_offer(&r, NULL, 2, kept, 4, &row, &error), NULL_POINTER, "sample");
    FAILS(rivergram_reservoir_offer(&r, sample, 2, NULL, 4, &row, &error), NULL_POINTER, "samples");
    FAILS(rivergram_reservoir_offer(&r, kept, 2, kept, 4, &row, &error), OVERLAP, "samples");
    FAILS(rivergram_reservoir_offer(&r, sample, 2, kept, 3, &row, &error), LENGTH, "samples");
    sample[0] = NAN;
    FAILS(rivergram_reservoir_offer(&r, sample, 2, kept, 4, &row, &error), NOT_FINITE, "sample");
    TRUE(r.seen == 0 && kept[0] == 0 && row == 9);
    sample[0] = 1;
    OK(rivergram_reservoir_offer(&r, sample, 2, kept, 4, &row, &error));
    TRUE(r.seen == 1 && row == 0 && kept[1] == 2);
    FAILS(rivergram_reservoir_draw(NULL, 1, rows, 2, &count, &error), NULL_POINTER, "reservoir");
    FAILS(rivergram_reservoir_draw(&r, 1, NULL, 2, &count, &error), NULL_POINTER, "rows");
    FAILS(rivergram_reservoir_draw(&r, 1, rows, 2, rows, &error), OVERLAP, "rows");
    FAILS(rivergram_reservoir_draw(&r, 1, rows, 2, NULL, &error), NULL_POINTER, "count");
    OK(rivergram_reservoir_draw(&r, 1, rows, 2, &count, &error));
    TRUE(count == 1 && rows[0] == 0);
    r.capacity = 0;
    FAILS(rivergram_reservoir_offer(&r, sample, 2, kept, 4, &row, &error), OPTION, "capacity");
    FAILS(rivergram_reservoir_draw(&r, 1, rows, 2, &count, &error), OPTION, "capacity");
}

int main(void)
{
    TRUE(rivergram_abi_version() == RIVERGRAM_ABI_VERSION);
    OK(rivergram_check_abi(RIVERGRAM_ABI_VERSION, &error));
    FAILS(rivergram_check_abi(RIVERGRAM_ABI_VERSION + 1, &error), ABI_VERSION, "header_version");
    for (uint32_t status = 0; status <= RIVERGRAM_STATUS_REFUSED; status++)
        TRUE(strcmp(rivergram_status_text(status), "no such status") != 0);
    TRUE(strcmp(rivergram_status_text(RIVERGRAM_STATUS_REFUSED + 1), "no such status") == 0);
    volume();
    volume_fixed(2, rivergram_volume2, rivergram_volume_gradient2);
    volume_fixed(3, rivergram_volume3, rivergram_volume_gradient3);
    volume_fixed(4, rivergram_volume4, rivergram_volume_gradient4);
    volume_i8();
    gram();
    eisl();
    wsds();
    heads();
    trainer();
    packed();
    transcription();
    averages();
    reservoirs();
    printf("test result: %s. %d passed; %d failed; 0 ignored\n", failed ? "FAILED" : "ok", passed, failed);
    return failed != 0;
}
