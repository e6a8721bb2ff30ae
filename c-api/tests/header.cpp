// The header is C++ too.

#include "rivergram.h"

int main()
{
    static rivergram_wsds schedule;
    rivergram_wsds_settings settings;
    rivergram_status status =
        rivergram_wsds_settings_named(RIVERGRAM_SCHEDULE_COSINE, 1.0f, 0.0f, &settings, nullptr);
    if (status == RIVERGRAM_STATUS_OK)
        status = rivergram_wsds_init(&schedule, sizeof schedule, &settings, nullptr, 0, nullptr);
    return status == RIVERGRAM_STATUS_OK ? 0 : 1;
}
