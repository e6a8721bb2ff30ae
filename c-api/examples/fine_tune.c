/* Fine-tunes on a device what the firmware in Rust does (`tests/firmware/programs`), on the same data with the same
 * seeds, and prints the same: three heads that learn to find one another's numbers by the GRAM loss, then a head that
 * learns to read digits from labels in the wrong order by the edit-invariant loss.
 *
 * The same program runs on a host and, with the files of `cortex-m4f`, on a Cortex-M4F. All memory is static. It
 * prints integers only, since printing floats takes more flash than the training does. */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rivergram.h"

/* The data of `data.S`: features of the numbers 0 to 99 in 8 bits, first as text, then as image and as sound in each
 * voice; strips of handwritten digits. `tests/tests/firmware_data.rs` makes them. */
enum { FEATURES = 32, NUMBERS = 100, TRAIN_VOICES = 6, TEST_VOICES = 2, VOICES = TRAIN_VOICES + TEST_VOICES };
enum { PIXELS = 64, LONGEST = 12, TRAIN_STRIPS = 48, TEST_STRIPS = 24 };
static const float FEATURE_SCALE = 1.0f / 32, PIXEL_SCALE = 1.0f / 127;

struct strip {
    uint8_t len, digits[LONGEST], labels[LONGEST];
    int8_t pixels[LONGEST][PIXELS];
};

extern const int8_t numbers[1 + 2 * VOICES][NUMBERS][FEATURES];
extern const struct strip strips[TRAIN_STRIPS + TEST_STRIPS];

/* Heads of text, image and sound, and batches of tuples; a head of tokens, and batches of strips. */
enum { HEADS = 3, D = 16, ROWS = 8, TOKENS = 11, BATCH = 4 };
enum { PARAMETERS = RIVERGRAM_HEAD_LEN(FEATURES, 0, D), READER = RIVERGRAM_HEAD_LEN(PIXELS, 0, TOKENS) };

/* The two trainings follow each other in the same memory. There is no gradient: each head is updated as soon as its own
 * is there, in the workspace. */
static union {
    struct {
        float parameters[HEADS][PARAMETERS], moments[2][HEADS][PARAMETERS];
        float workspace[RIVERGRAM_LEAN_ALIGN_WORKSPACE_LEN(HEADS, ROWS, FEATURES, D)];
        int8_t inputs[HEADS][ROWS][FEATURES];
    } align;
    struct {
        float parameters[READER], moments[2][READER];
        float workspace[RIVERGRAM_LEAN_TRANSCRIBE_WORKSPACE_LEN(BATCH, LONGEST, LONGEST, PIXELS, TOKENS, 1)];
        int8_t inputs[BATCH][LONGEST][PIXELS];
    } read;
} memory;

static rivergram_wsds schedule;
static rivergram_error error;

/* Ends the program with what was wrong. */
static int failed(const char *what)
{
    printf("%s: %s: %s\n", what, error.name, rivergram_status_text(error.status));
    return 1;
}

/* Random numbers (Marsaglia, Xorshift RNGs, 2003). */
static uint32_t state;

static uint32_t bits(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static size_t below(size_t n)
{
    return (size_t)((uint64_t)bits() * n >> 32);
}

/* Weights and biases uniform in +-1/sqrt(inputs). */
static void initialise(float *parameters, size_t len, size_t inputs)
{
    const float bound = 1.0f / sqrtf((float)inputs);
    for (size_t i = 0; i < len; i++)
        parameters[i] = (float)(int32_t)bits() * (bound / 2147483648.0f);
}

static void unpack(const int8_t *from, size_t len, float scale, float *to)
{
    for (size_t i = 0; i < len; i++)
        to[i] = scale * (float)from[i];
}

static uint32_t thousandths(float x)
{
    return (uint32_t)(x * 1000 + 0.5f);
}

/* AdamW with a gradient that is not clipped. */
static int make(rivergram_trainer *trainer, float peak, const uint64_t *budgets)
{
    rivergram_wsds_settings settings;
    trainer->schedule = &schedule;
    trainer->clip = INFINITY;
    if (rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_WSD_S, peak, peak / 100, &settings, &error))
        return failed("settings");
    settings.warmup = 10;
    if (rivergram_wsds_init(&schedule, sizeof schedule, &settings, budgets, 2, &error) ||
        rivergram_optimizer_named(RIVERGRAM_OPTIMIZER_KIND_ADAM_W, &trainer->optimizer, &error))
        return failed("trainer");
    return 0;
}

/* The features of a number in a voice; all voices share the texts. */
static const int8_t *features(size_t modality, size_t voice, size_t number)
{
    return numbers[modality == 0 ? 0 : 1 + (modality - 1) * VOICES + voice][number];
}

static const rivergram_head HEAD = {.input = FEATURES, .output = D, .normalise = 1};

/* A number through the head of a modality. */
static int embed(size_t modality, size_t voice, size_t number, float *to)
{
    float row[FEATURES], norm;
    unpack(features(modality, voice, number), FEATURES, FEATURE_SCALE, row);
    return rivergram_head_forward(&HEAD, memory.align.parameters[modality], PARAMETERS, row, FEATURES, 1, to, D,
                                  &norm, 1, &error) != RIVERGRAM_STATUS_OK;
}

/* Texts that are looked for at once, each with the best that was found. */
enum { TILE = 10 };

struct search {
    float embedding[D], least;
    size_t best;
};

/* Looks for some texts among images and sounds of all numbers in a voice. */
static int look(struct search *texts, size_t voice)
{
    float tuple[HEADS][D], volume;
    for (size_t number = 0; number < NUMBERS; number++) {
        if (embed(1, voice, number, tuple[1]) || embed(2, voice, number, tuple[2]))
            return failed("forward");
        for (size_t i = 0; i < TILE; i++) {
            memcpy(tuple[0], texts[i].embedding, sizeof tuple[0]);
            if (rivergram_volume3(tuple[0], HEADS * D, D, &volume, &error))
                return failed("volume");
            if (volume < texts[i].least) {
                texts[i].least = volume;
                texts[i].best = number;
            }
        }
    }
    return 0;
}

/* How many texts find their own image and sound among those of all numbers, in the voices of the test: R@1. */
static int found(unsigned *hits)
{
    *hits = 0;
    for (size_t voice = TRAIN_VOICES; voice < VOICES; voice++) {
        for (size_t first = 0; first < NUMBERS; first += TILE) {
            struct search texts[TILE];
            for (size_t i = 0; i < TILE; i++) {
                texts[i].least = INFINITY;
                texts[i].best = NUMBERS;
                if (embed(0, voice, first + i, texts[i].embedding))
                    return failed("forward");
            }
            if (look(texts, voice))
                return 1;
            for (size_t i = 0; i < TILE; i++)
                *hits += texts[i].best == first + i;
        }
    }
    return 0;
}

static int contains(const size_t *list, size_t len, size_t x)
{
    for (size_t i = 0; i < len; i++)
        if (list[i] == x)
            return 1;
    return 0;
}

/* A batch of different numbers, each in a voice of its own. */
static void draw_numbers(void)
{
    size_t chosen[ROWS];
    for (size_t row = 0; row < ROWS; row++) {
        do
            chosen[row] = below(NUMBERS);
        while (contains(chosen, row, chosen[row]));
        const size_t voice = below(TRAIN_VOICES);
        for (size_t i = 0; i < HEADS; i++)
            memcpy(memory.align.inputs[i][row], features(i, voice, chosen[row]), FEATURES);
    }
}

static int align(void)
{
    static const uint64_t budgets[] = {200, 400};
    const rivergram_head heads[HEADS] = {HEAD, HEAD, HEAD};
    rivergram_features_i8 inputs[HEADS];
    rivergram_trainer trainer = {
        .heads = heads, .heads_len = HEADS,
        .parameters = memory.align.parameters[0], .parameters_len = HEADS * PARAMETERS,
        .moments = memory.align.moments[0][0], .moments_len = 2 * HEADS * PARAMETERS,
        .workspace = memory.align.workspace, .workspace_len = sizeof memory.align.workspace / sizeof(float),
    };
    rivergram_gram_options loss;
    rivergram_step step = {0};
    unsigned before, after;
    const unsigned count = TEST_VOICES * NUMBERS;

    /* The loss of the paper, with the texts as anchors; a weight of the pairs keeps image and sound together. */
    if (make(&trainer, 0.01f, budgets) || rivergram_gram_options_paper(0, &loss, &error))
        return failed("options");
    loss.pairs = 0.3f;
    loss.temperature = 0.1f;
    loss.label_smoothing = 0.1f;
    loss.normalise = 0;
    for (size_t i = 0; i < HEADS; i++) {
        inputs[i].values = memory.align.inputs[i][0];
        inputs[i].values_len = ROWS * FEATURES;
        inputs[i].scale = FEATURE_SCALE;
    }
    state = 1;
    initialise(memory.align.parameters[0], HEADS * PARAMETERS, FEATURES);
    if (found(&before))
        return 1;
    printf("heads, 0 updates: R@1 %u/%u\n", before, count);
    for (size_t i = 0; i < 2; i++) {
        while (trainer.updates < budgets[i]) {
            draw_numbers();
            if (rivergram_trainer_align_i8(&trainer, &loss, inputs, HEADS, NULL, 0, ROWS, &step, NULL, &error))
                return failed("step");
        }
        if (found(&after))
            return 1;
        printf("heads, %" PRIu32 " updates: R@1 %u/%u, loss %" PRIu32 "/1000\n", (uint32_t)budgets[i], after, count,
               thousandths(step.loss));
    }
    /* Of a hundred candidates chance finds one. */
    return !(before * 20 < count && after * 4 > count);
}

static const rivergram_head READING = {.input = PIXELS, .output = TOKENS};

/* How many digits of the test strips are read wrongly. */
static int count_wrong(unsigned *wrong, unsigned *count)
{
    float row[PIXELS], logits[TOKENS], norm;
    *wrong = *count = 0;
    for (size_t i = TRAIN_STRIPS; i < TRAIN_STRIPS + TEST_STRIPS; i++) {
        for (size_t place = 0; place < strips[i].len; place++) {
            unpack(strips[i].pixels[place], PIXELS, PIXEL_SCALE, row);
            if (rivergram_head_forward(&READING, memory.read.parameters, READER, row, PIXELS, 1, logits, TOKENS, &norm,
                                       1, &error))
                return failed("forward");
            size_t best = 0;
            for (size_t digit = 1; digit < 10; digit++)
                if (logits[digit] >= logits[best])
                    best = digit;
            *wrong += best != strips[i].digits[place];
        }
        *count += strips[i].len;
    }
    return 0;
}

/* A batch of random strips: pixels, what their labels say, and their lengths. */
static void draw_strips(int32_t labels[BATCH][LONGEST], size_t lens[BATCH])
{
    for (size_t row = 0; row < BATCH; row++) {
        const struct strip *strip = &strips[below(TRAIN_STRIPS)];
        memcpy(memory.read.inputs[row], strip->pixels, sizeof strip->pixels);
        lens[row] = strip->len;
        for (size_t i = 0; i < LONGEST; i++)
            labels[row][i] = i < strip->len ? strip->labels[i] : -100;
    }
}

static int transcribe(void)
{
    static const uint64_t budgets[] = {50, 200};
    const rivergram_order order = {.n = 1, .weight = 1};
    rivergram_trainer trainer = {
        .heads = &READING, .heads_len = 1,
        .parameters = memory.read.parameters, .parameters_len = READER,
        .moments = memory.read.moments[0], .moments_len = 2 * READER,
        .workspace = memory.read.workspace, .workspace_len = sizeof memory.read.workspace / sizeof(float),
    };
    int32_t labels[BATCH][LONGEST];
    size_t lens[BATCH];
    const rivergram_eisl_batch batch = {
        .batch = BATCH, .positions = LONGEST, .targets = LONGEST, .vocabulary = TOKENS,
        .labels = labels[0], .labels_len = BATCH * LONGEST, .output_lens = lens,
    };
    const rivergram_features_i8 inputs = {
        .values = memory.read.inputs[0][0], .values_len = BATCH * LONGEST * PIXELS, .scale = PIXEL_SCALE,
    };
    rivergram_eisl_options losses[2];
    rivergram_step step = {0};
    unsigned before, after, count;

    memset(&memory, 0, sizeof memory);
    /* Cross-entropy in the first budget; then single tokens wherever they stand, so that their order does not matter. */
    if (make(&trainer, 0.03f, budgets) || rivergram_eisl_options_paper(&order, 1, &losses[0], &error) ||
        rivergram_eisl_options_paper(&order, 1, &losses[1], &error))
        return failed("options");
    losses[0].ngram_factor = 0;
    losses[0].ce_factor = 1;
    state = 1;
    initialise(memory.read.parameters, READER, PIXELS);
    if (count_wrong(&before, &count))
        return 1;
    printf("transcriber, 0 updates: %u/%u digits wrong\n", before, count);
    for (size_t i = 0; i < 2; i++) {
        while (trainer.updates < budgets[i]) {
            draw_strips(labels, lens);
            if (rivergram_trainer_transcribe_i8(&trainer, &losses[i], &batch, &inputs, &step, NULL, &error))
                return failed("step");
        }
        if (count_wrong(&after, &count))
            return 1;
        printf("transcriber, %" PRIu32 " updates: %u/%u digits wrong, loss %" PRIu32 "/1000\n", (uint32_t)budgets[i],
               after, count, thousandths(step.loss));
    }
    return !(before * 2 > count && after * 6 < count);
}

/* Ends with 0 if both trainings taught what they should. */
int main(void)
{
    if (rivergram_check_abi(RIVERGRAM_ABI_VERSION, &error))
        return failed("header");
    printf("state: %" PRIu32 " bytes\n", (uint32_t)(sizeof memory + sizeof schedule));
    return align() || transcribe();
}
