//! Scratch.
use std::sync::atomic::AtomicBool;
use rivergram::train::*;
fn main() {
    let seed: u64 = std::env::args().nth(1).map_or(0, |s| s.parse().unwrap());
    let which = std::env::args().nth(2).unwrap_or_default();
    let level = rivergram_simd::Level::detect();
    let stop = AtomicBool::new(false);
    let t = std::time::Instant::now();
    let observe = |e: Event| match e { Event::Budget(b) => { println!("{:5.1}s {} {} {} ", t.elapsed().as_secs_f32(), b.job, b.leg, b.step);
        for (k,v) in &b.metrics { if k.ends_with("_r1") || k.contains("accuracy") || k.contains("error") { println!("      {k} {:.1}", 100.0*v); } } }
        Event::Step{..} => {}, e => println!("{e:?}") };
    let context = Context { level, threads: 0, stop: &stop, observe: &observe };
    let mut o = RunOptions::demo(level.name(), seed);
    if which == "lin" {
        let mut a = AlignOptions::new(Source::Numbers, LossKind::Gram, 0); a.schedule.budgets = vec![1500];
        o.jobs = vec![JobOptions::align(a, seed)];
    } else if !which.is_empty() { o.jobs.retain(|j| j.name.contains(&which)); }
    let d = std::path::PathBuf::from(format!("/tmp/demo{seed}{which}"));
    let _ = std::fs::remove_dir_all(&d);
    let r = run(&o, &d, &context).unwrap();
    for j in &r.jobs { println!("{} untrained {:?}", j.name, j.untrained.get("text_to_image+audio_r1")); }
    println!("total {:.1}s", t.elapsed().as_secs_f32());
}
