/* A tour: volumes, three heads on made-up features, a schedule that decays on demand, save and load.
 *
 * The same program runs on a host and, with the files of `cortex-m4f`, on a Cortex-M4F. All memory is static. It
 * prints integers only, since printing floats takes more flash than the training does. */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rivergram.h"

enum { HEADS = 3, ROWS = 8, INPUT = 12, D = 6, STEPS = 300, DECAY_AT = 200, DECAY = 100, SAVE_AT = 250 };
enum { PARAMETERS = HEADS * RIVERGRAM_HEAD_LEN(INPUT, 0, D) };

static struct {
    float features[HEADS][ROWS][INPUT];
    float parameters[PARAMETERS], gradient[PARAMETERS], moments[2 * PARAMETERS];
    float workspace[RIVERGRAM_ALIGN_WORKSPACE_LEN(HEADS, ROWS, D)];
    float outputs[HEADS][ROWS][D], cache[ROWS];
    uint8_t saved[16 * PARAMETERS];
    rivergram_wsds schedule;
} memory;

/* Ends the program with what was wrong. */
static int failed(const char *what, const rivergram_error *error)
{
    printf("%s: %s: %s\n", what, error->name, rivergram_status_text(error->status));
    return 1;
}

/* In millionths. */
static long micro(float x)
{
    return lroundf(x * 1e6f);
}

/* Evenly in -1..1, the same numbers on every machine. */
static float uniform(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

/* Each modality sees the same hidden vector of a row through a matrix of its own, with noise. */
static void make_features(void)
{
    float hidden[ROWS][D], matrix[INPUT][D];
    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < D; i++)
            hidden[row][i] = uniform();
    for (size_t head = 0; head < HEADS; head++) {
        for (size_t i = 0; i < INPUT; i++)
            for (size_t j = 0; j < D; j++)
                matrix[i][j] = uniform();
        for (size_t row = 0; row < ROWS; row++)
            for (size_t i = 0; i < INPUT; i++) {
                float sum = 0.1f * uniform();
                for (size_t j = 0; j < D; j++)
                    sum += matrix[i][j] * hidden[row][j];
                memory.features[head][row][i] = sum;
            }
    }
    for (size_t i = 0; i < PARAMETERS; i++)
        memory.parameters[i] = 0.3f * uniform();
}

/* Of how many rows the smallest volume with the first modality is that with the others of the same row. */
static int matches(const rivergram_head *heads, int *count)
{
    rivergram_error error;
    const size_t len = PARAMETERS / HEADS;
    for (size_t head = 0; head < HEADS; head++)
        if (rivergram_head_forward(&heads[head], memory.parameters + head * len, len, memory.features[head][0],
                                   ROWS * INPUT, ROWS, memory.outputs[head][0], ROWS * D, memory.cache, ROWS,
                                   &error))
            return failed("forward", &error);
    *count = 0;
    for (size_t anchor = 0; anchor < ROWS; anchor++) {
        size_t best = 0;
        float least = INFINITY;
        for (size_t item = 0; item < ROWS; item++) {
            float tuple[HEADS][D], volume;
            memcpy(tuple[0], memory.outputs[0][anchor], sizeof tuple[0]);
            for (size_t head = 1; head < HEADS; head++)
                memcpy(tuple[head], memory.outputs[head][item], sizeof tuple[head]);
            if (rivergram_volume(tuple[0], HEADS * D, HEADS, D, NULL, 0, &volume, &error))
                return failed("volume", &error);
            if (volume < least) {
                least = volume;
                best = item;
            }
        }
        *count += best == anchor;
    }
    return 0;
}

static int volumes(void)
{
    const float x[2][3] = {{3, 0, 0}, {5, 4, 0}};
    float gradient[2][3], scales[2], volume, exact;
    int8_t rows[2][3];
    rivergram_error error;
    if (rivergram_volume_gradient(x[0], 6, 2, 3, gradient[0], 6, NULL, 0, &exact, &error))
        return failed("volume", &error);
    for (size_t row = 0; row < 2; row++)
        if (rivergram_quantise(x[row], 3, rows[row], 3, &scales[row], &error))
            return failed("quantise", &error);
    if (rivergram_volume_i8(rows[0], 6, scales, 2, 3, &volume, &error))
        return failed("volume in 8 bits", &error);
    printf("volume %ld, by the first vector %ld, in 8 bits %ld\n", micro(exact), micro(gradient[0][0]),
           micro(volume));
    if (rivergram_volume(x[0], 5, 2, 3, NULL, 0, &volume, &error) != RIVERGRAM_STATUS_LENGTH)
        return 1;
    printf("5 floats: %s: %s, %" PRIu32 " needed\n", error.name, rivergram_status_text(error.status),
           (uint32_t)error.need);
    return 0;
}

static int train(void)
{
    const rivergram_head head = {.input = INPUT, .output = D, .normalise = 1};
    const rivergram_head heads[HEADS] = {head, head, head};
    const float *inputs[HEADS];
    size_t inputs_len[HEADS];
    rivergram_trainer trainer = {
        .heads = heads, .heads_len = HEADS, .clip = 1.0f,
        .parameters = memory.parameters, .parameters_len = PARAMETERS,
        .gradient = memory.gradient, .gradient_len = PARAMETERS,
        .moments = memory.moments, .moments_len = 2 * PARAMETERS,
        .workspace = memory.workspace, .workspace_len = sizeof memory.workspace / sizeof(float),
        .schedule = &memory.schedule,
    };
    rivergram_gram_options loss;
    rivergram_wsds_settings settings;
    rivergram_position position;
    rivergram_step step = {0};
    rivergram_trainer_lens lens;
    rivergram_error error;
    int before, after;
    float end[PARAMETERS];

    for (size_t i = 0; i < HEADS; i++) {
        inputs[i] = memory.features[i][0];
        inputs_len[i] = ROWS * INPUT;
    }
    make_features();
    /* No budget: the run stays at the peak until a decay is asked for. */
    if (rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_WSD_S, 0.02f, 0.0002f, &settings, &error) ||
        rivergram_wsds_init(&memory.schedule, sizeof memory.schedule, &settings, NULL, 0, &error))
        return failed("schedule", &error);
    if (rivergram_optimizer_named(RIVERGRAM_OPTIMIZER_KIND_ADAM_W, &trainer.optimizer, &error) ||
        rivergram_gram_options_paper(0, &loss, &error) ||
        rivergram_trainer_lens_of(&trainer, ROWS, &lens, &error) || matches(heads, &before))
        return failed("trainer", &error);
    loss.normalise = 0;
    printf("%u parameters, %u floats of workspace, %u bytes saved\n", (unsigned)lens.parameters,
           (unsigned)lens.align_workspace, (unsigned)lens.saved);

    /* Twice from the saved state on: the second time must end as the first. */
    for (int round = 0; round < 2; round++) {
        while (trainer.updates < STEPS) {
            if (trainer.updates == DECAY_AT &&
                rivergram_wsds_request_decay(&memory.schedule, DECAY, NULL, &error))
                return failed("decay", &error);
            if (trainer.updates == SAVE_AT && round == 0 &&
                rivergram_trainer_save(&trainer, memory.saved, sizeof memory.saved, &error))
                return failed("save", &error);
            if (rivergram_trainer_align(&trainer, &loss, inputs, inputs_len, HEADS, NULL, 0, ROWS, &step, NULL,
                                        &error))
                return failed("step", &error);
            if (round == 0 && (trainer.updates == 1 || trainer.updates % 50 == 0))
                printf("update %u: loss %ld, rate %ld\n", (unsigned)trainer.updates, micro(step.loss) / 1000,
                       micro(step.rate));
        }
        if (round == 0) {
            memcpy(end, memory.parameters, sizeof end);
            if (matches(heads, &after) || rivergram_wsds_position(&memory.schedule, &position, &error))
                return failed("end", &error);
            printf("phase %u; %d of %d rows found before, %d after\n", (unsigned)position.phase, before, ROWS,
                   after);
            memset(memory.parameters, 0, sizeof memory.parameters);
            if (rivergram_trainer_load(&trainer, memory.saved, sizeof memory.saved, &error))
                return failed("load", &error);
            printf("loaded at update %u\n", (unsigned)trainer.updates);
        }
    }
    printf("after the load: %s\n", memcmp(end, memory.parameters, sizeof end) ? "different" : "the same bits");
    return 0;
}

int main(void)
{
    if (rivergram_check_abi(RIVERGRAM_ABI_VERSION, NULL))
        return 1;
    return volumes() || train();
}
