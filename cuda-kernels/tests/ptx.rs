//! The committed PTX has the same kernels for every GPU, each with its entry in the source.

use rivergram_cuda_kernels::ptx;

#[test]
fn every_gpu_has_every_kernel() {
    let source = include_str!("../src/entries.rs");
    let mut declared: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub unsafe extern \"ptx-kernel\" fn "))
        .filter_map(|line| line.split('(').next())
        .collect();
    declared.sort_unstable();
    assert!(declared.contains(&"volumes"));
    for (capability, text) in ptx::ALL {
        let mut kernels: Vec<&str> = ptx::kernels(text).collect();
        kernels.sort_unstable();
        assert_eq!(kernels, declared, "sm_{capability}");
        assert!(text.contains(&format!(".target sm_{capability}\n")));
        assert!(text.starts_with("// rustc "), "the compiler has no name");
        assert_eq!(ptx::of(capability / 10, capability % 10), Some(text));
    }
}
