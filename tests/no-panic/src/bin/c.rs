//! Every function of the C API: C may call it with anything, once its address is known.
#![no_std]
#![no_main]

use rivergram_c::*;
use rivergram_no_panic::keep;

/// Where the linker begins.
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    keep(rivergram_abi_version as *const ());
    keep(rivergram_average_len as *const ());
    keep(rivergram_average_read as *const ());
    keep(rivergram_average_update as *const ());
    keep(rivergram_check_abi as *const ());
    keep(rivergram_eisl_loss as *const ());
    keep(rivergram_eisl_loss_and_gradient as *const ());
    keep(rivergram_eisl_options_paper as *const ());
    keep(rivergram_eisl_workspace_len as *const ());
    keep(rivergram_gram_loss as *const ());
    keep(rivergram_gram_options_paper as *const ());
    keep(rivergram_gram_workspace_len as *const ());
    keep(rivergram_head_backward as *const ());
    keep(rivergram_head_forward as *const ());
    keep(rivergram_head_lens_of as *const ());
    keep(rivergram_optimizer_moments_len as *const ());
    keep(rivergram_optimizer_named as *const ());
    keep(rivergram_optimizer_update as *const ());
    keep(rivergram_quantise as *const ());
    keep(rivergram_reservoir_draw as *const ());
    keep(rivergram_reservoir_offer as *const ());
    keep(rivergram_status_text as *const ());
    keep(rivergram_trainer_align as *const ());
    keep(rivergram_trainer_align_i8 as *const ());
    keep(rivergram_trainer_lens_of as *const ());
    keep(rivergram_trainer_load as *const ());
    keep(rivergram_trainer_save as *const ());
    keep(rivergram_trainer_transcribe as *const ());
    keep(rivergram_trainer_transcribe_i8 as *const ());
    keep(rivergram_trainer_transcribe_workspace_len as *const ());
    keep(rivergram_volume as *const ());
    keep(rivergram_volume2 as *const ());
    keep(rivergram_volume3 as *const ());
    keep(rivergram_volume4 as *const ());
    keep(rivergram_volume_gradient as *const ());
    keep(rivergram_volume_gradient2 as *const ());
    keep(rivergram_volume_gradient3 as *const ());
    keep(rivergram_volume_gradient4 as *const ());
    keep(rivergram_volume_i8 as *const ());
    keep(rivergram_volume_workspace_len as *const ());
    keep(rivergram_wsds_advance as *const ());
    keep(rivergram_wsds_align as *const ());
    keep(rivergram_wsds_cancel_decay as *const ());
    keep(rivergram_wsds_extend as *const ());
    keep(rivergram_wsds_init as *const ());
    keep(rivergram_wsds_load as *const ());
    keep(rivergram_wsds_position as *const ());
    keep(rivergram_wsds_rate_at as *const ());
    keep(rivergram_wsds_request_decay as *const ());
    keep(rivergram_wsds_request_decay_of_seen as *const ());
    keep(rivergram_wsds_resume_to_peak as *const ());
    keep(rivergram_wsds_save as *const ());
    keep(rivergram_wsds_set_budgets as *const ());
    keep(rivergram_wsds_settings_named as *const ());
    keep(rivergram_wsds_size as *const ());
}
