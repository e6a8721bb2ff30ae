//! The committed PTX has the same kernels for every GPU, each with its entry in the source.

use rivergram_cuda_kernels::ptx;

#[test]
fn every_gpu_has_every_kernel() {
    let source = include_str!("../src/entries.rs");
    // Those of tensor cores are marked.
    let (mut marked, mut all, mut old) = (false, Vec::new(), Vec::new());
    for line in source.lines() {
        marked |= line == "#[cfg(target_feature = \"sm_80\")]";
        let entry = line.strip_prefix("pub unsafe extern \"ptx-kernel\" fn ");
        if let Some(name) = entry.and_then(|rest| rest.split('(').next()) {
            all.push(name);
            old.extend((!marked).then_some(name));
        }
        marked &= !line.is_empty() && !line.starts_with("use ");
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
