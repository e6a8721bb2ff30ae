//! The kernels as PTX, for the driver to compile: what `cargo xtask ptx` made of this source.

/// Compute capability, ten times it, and the PTX for it, oldest first.
pub const ALL: [(u32, &str); 4] = [
    (75, include_str!("../ptx/sm_75.ptx")),
    (80, include_str!("../ptx/sm_80.ptx")),
    (87, include_str!("../ptx/sm_87.ptx")),
    (90, include_str!("../ptx/sm_90.ptx")),
];

/// The PTX for a GPU: the newest that is not newer than it. None for one older than all.
///
/// ```
/// use rivergram_cuda_kernels::ptx;
///
/// assert_eq!(ptx::of(8, 6), ptx::of(8, 0));
/// assert!(ptx::of(12, 0).is_some_and(|text| text.contains(".target sm_90")));
/// assert_eq!(ptx::of(7, 0), None);
/// ```
pub fn of(major: u32, minor: u32) -> Option<&'static str> {
    let capability = major * 10 + minor;
    let fits = ALL.iter().rev().find(|(oldest, _)| *oldest <= capability);
    fits.map(|(_, text)| *text)
}

/// The kernels of a text, in its order.
///
/// ```
/// use rivergram_cuda_kernels::ptx;
///
/// let text = ptx::of(8, 0).unwrap();
/// assert!(ptx::kernels(text).any(|kernel| kernel == "volumes"));
/// ```
pub fn kernels(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(".visible .entry "))
        .filter_map(|line| line.split('(').next())
}
