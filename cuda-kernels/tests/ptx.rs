//! The committed PTX has the same kernels for every GPU, each with its entry in the source.

use rivergram_cuda_kernels::ptx;

#[test]
fn every_gpu_has_every_kernel() {
    let source = include_str!("../src/entries.rs");
    // Those on tensor cores come last.
    let (mut old, mut all) = (Vec::new(), Vec::new());
    let blocks = source.split("entries! {").skip(1);
    for (block, text) in blocks.enumerate() {
        let names = text.lines().filter(|line| line.contains(") = "));
        let names = names.filter_map(|line| line.trim_start().split('(').next());
        all.extend(names);
        if block == 0 {
            old = all.clone();
        }
    }
    all.sort_unstable();
    old.sort_unstable();
    assert!(old.contains(&"volumes") && all.contains(&"volumes_tf32"));
    assert!(!old.contains(&"volumes_tf32"));
    for (capability, text) in ptx::ALL {
        let declared = if capability < 80 { &old } else { &all };
        let mut kernels: Vec<&str> = ptx::kernels(text).collect();
        kernels.sort_unstable();
        assert_eq!(&kernels, declared, "sm_{capability}");
        assert!(text.contains(&format!(".target sm_{capability}\n")));
        assert!(text.starts_with("// rustc "), "the compiler has no name");
        assert_eq!(ptx::of(capability / 10, capability % 10), Some(text));
    }
}
