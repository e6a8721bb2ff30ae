//! Properties.
use rivergram_core::gram::tuple;
use rivergram_core::lanes::{One, Real, Isa};
use rivergram_tests::cases::*;
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::random::Random;
use std::collections::BTreeMap;

fn errors<T: Real>(rows: &Rows, v: f64, g: &Rows) -> (f64, f64) {
    let (k, d) = (rows.len(), rows[0].len());
    let x: Vec<T> = flat(rows);
    let mut gradient = vec![T::ONE; k * d];
    let mut w = vec![T::constant(f64::NAN); tuple::workspace_len(k, d)];
    let got = tuple::volume_gradient_on(One::<T>::new(), &x, k, d, &mut gradient, &mut w).unwrap().to_f64();
    let ev = (got - v).abs() / v;
    let eg = norm(gradient.iter().zip(g.iter().flatten()).map(|(a, b)| a.to_f64() - b)) / norm(g.iter().flatten().copied());
    (ev, eg)
}

#[test]
fn explore() {
    let mut worst: BTreeMap<(String, bool), Vec<(f64, f64, f64, f64, f64, f64, usize, usize)>> = BTreeMap::new();
    let mut random = Random::new(1);
    for k in 1..=12usize {
        for d in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 64, 100, 512] {
            if k > d { continue; }
            for round in 0..4 {
                let mut list: Vec<(String, Rows)> = vec![("unrelated".into(), random.normals(k, d))];
                for s in [10.0, 1.0, 0.3, 0.1, 1e-2, 1e-3, 1e-4, 1e-5] {
                    list.push((format!("cone {s:e}"), cone(&mut random, k, d, s)));
                    if k > 2 { list.push((format!("two cones {s:e}"), two_cones(&mut random, k, d, s))); }
                }
                if k > 1 { for s in [0.1, 1e-2, 1e-3] { list.push((format!("coplanar {s:e}"), near_coplanar(&mut random, k, d, s))); } }
                for (mut name, mut rows) in list {
                    if round % 2 == 1 { rows = scaled(&mut random, rows, 1000.0f64.min(2f64.powf(60.0/k as f64))); name += " scaled"; }
                    let rows = shuffled(&mut random, rows);
                    let (v, g) = (oracle::volume(&rows), oracle::volume_gradient(&rows));
                    if v == 0.0 { continue; }
                    let c = condition(&rows, v, &g);
                    let cd = condition_of_differences(&rows);
                    let (ev, eg) = errors::<f32>(&rows, v, &g);
                    let (dv, dg) = errors::<f64>(&rows, v, &g);
                    worst.entry((name, k > 8)).or_default().push((ev, eg, c, cd, dv, dg, k, d));
                }
            }
        }
    }
    for ((name, big), mut list) in worst {
        list.sort_by(|a, b| b.0.total_cmp(&a.0));
        let m = |f: &dyn Fn(&(f64, f64, f64, f64, f64, f64, usize, usize)) -> f64| list.iter().map(f).fold(0.0, f64::max);
        println!("{name:25} big={big:5} n={} ev {:.1e} eg {:.1e} ev/(eps c') {:.2} eg/(eps c') {:.2} dv {:.1e} dg {:.1e} dv/(epsc) {:.1} dg/(eps c) {:.1}", list.len(), m(&|x| x.0), m(&|x| x.1),
          m(&|x| x.0/(1.2e-7*x.3)), m(&|x| x.1/(1.2e-7*x.3)), m(&|x| x.4), m(&|x| x.5), m(&|x| x.4/(2.2e-16*x.2)), m(&|x| x.5/(2.2e-16*x.2)));
        for x in list.iter().take(3) { if x.0 > 1e-6 || x.1 > 1e-5 { println!("     {x:?}"); } }
    }
}
