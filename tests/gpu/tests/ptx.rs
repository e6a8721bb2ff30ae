//! That the PTX has what the host starts, with parameters of the size that it passes; and the table of its launches.
//! `RIVERGRAM_BLESS=1 cargo test -p rivergram-gpu --test ptx` writes that table anew.

use rivergram::cuda::driver::{EislPass, GramPass, Task, TensorPass};
use rivergram_cuda_kernels::device::{Element, Global};
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::contrastive::{Loss, TensorLoss};
use rivergram_cuda_kernels::kernels::eisl::Eisl;
use rivergram_cuda_kernels::kernels::optim::Update;
use rivergram_cuda_kernels::kernels::pairs::{Pairs, Volumes};
use rivergram_cuda_kernels::kernels::prepare::Normalise;
use rivergram_cuda_kernels::kernels::search::{Nearest, Scan};
use rivergram_cuda_kernels::kernels::tensor::{Narrow, Operands, TensorVolumes};
use rivergram_cuda_kernels::lanes::F32;
use rivergram_cuda_kernels::ptx;

const NONE: Global<F32> = Global::new(0, 0);
const NO_WORDS: Global<u32> = Global::new(0, 0);

/// The passes over logits that are stored so.
fn eisl<T: Element>() -> Eisl<T> {
    Eisl {
        logits: Global::new(0, 0),
        labels: Global::new(0, 0),
        tokens: Global::new(0, 0),
        outputs: Global::new(0, 0),
        lengths: Global::new(0, 0),
        factors: NONE,
        sums: NONE,
        scores: NONE,
        work: NONE,
        gradient: NONE,
        values: NONE,
        cross_entropy: NONE,
        rows: 0,
        positions: 0,
        targets: 0,
        vocabulary: 0,
        orders: [0; 8],
        order_count: 0,
        select: 0,
        temperature: F32(0.0),
        clamp: F32(0.0),
        smoothing: F32(0.0),
        token_share: F32(0.0),
    }
}

/// Every kernel that the host starts: those of every device, and those on tensor cores.
fn tasks() -> [Vec<Task>; 2] {
    let items = Items {
        vectors: NONE,
        present: NONE,
        q: NONE,
        r: NONE,
        volume: NONE,
        any: NONE,
        items: 0,
        m: 0,
        d: 0,
        skip: 0,
    };
    let pairs = Pairs {
        anchors: NONE,
        squares: NONE,
        items,
        residuals: NONE,
        rows: 0,
        measure: 0,
    };
    let nearest = Nearest {
        pairs,
        scores: NONE,
        indices: Global::new(0, 0),
        best_scores: NONE,
        best_indices: Global::new(0, 0),
        best: 0,
        blocks: 0,
        offset: 0,
        zeros_are_missing: 0,
    };
    let loss = Loss {
        pairs,
        gradient: NONE,
        inverse_norm: NONE,
        distance: NONE,
        y: NONE,
        rows: NONE,
        columns: NONE,
        sums: NONE,
        counts: NONE,
        report: NONE,
        start: 0,
        strip: 0,
        scale: F32(0.0),
        smoothing: F32(0.0),
        weight: F32(0.0),
    };
    let mut tasks = vec![
        Task::Normalise(Normalise {
            vectors: NONE,
            present: NONE,
            unit: NONE,
            there: NONE,
            inverse_norm: NONE,
            rows: 0,
            d: 0,
        }),
        Task::Bases(items),
        Task::Squares(pairs),
        Task::Volumes(Volumes { pairs, out: NONE }),
        Task::Nearest(nearest),
        Task::Merge(nearest),
        Task::AdamW(Update {
            parameters: NONE,
            gradient: NONE,
            first: NONE,
            second: NONE,
            constants: Default::default(),
        }),
    ];
    let passes = [EislPass::Read, EislPass::Ngrams, EislPass::Write];
    tasks.extend(passes.map(|pass| Task::Eisl(pass, eisl())));
    tasks.extend(passes.map(|pass| Task::EislBf16(pass, eisl())));
    let passes = [
        GramPass::Count,
        GramPass::Scores,
        GramPass::RowSums,
        GramPass::ColumnSums,
        GramPass::Losses,
        GramPass::ColumnWeights,
        GramPass::RowWeights,
        GramPass::NearItems,
        GramPass::AnchorsProduct,
        GramPass::ItemsProduct,
        GramPass::Diagonal,
        GramPass::ItemsGradient,
        GramPass::AnchorsGradient,
        GramPass::Report,
    ];
    tasks.extend(passes.map(|pass| Task::Gram(pass, loss)));
    [tasks, tensor_tasks(nearest, loss)]
}

fn tensor_tasks(nearest: Nearest, loss: Loss) -> Vec<Task> {
    let pairs = nearest.pairs;
    let operands = Operands {
        anchors: NO_WORDS,
        anchor_scales: NONE,
        q: NO_WORDS,
        q_scales: NONE,
        row_words: 0,
        residuals: 0,
    };
    let narrow = Narrow {
        numbers: NONE,
        words: NO_WORDS,
        scales: NONE,
        rows: 0,
        d: 0,
        row_words: 0,
        format: 0,
    };
    let volumes = TensorVolumes {
        pairs,
        operands,
        out: NONE,
    };
    let scan = Scan { nearest, operands };
    let loss = TensorLoss {
        loss,
        operands,
        anchors_transposed: NO_WORDS,
        q_transposed: NO_WORDS,
        y: NO_WORDS,
        y_transposed: NO_WORDS,
        batch_words: 0,
        strip_words: 0,
    };
    let mut tasks = vec![
        Task::Narrow(narrow),
        Task::NarrowTransposed(narrow),
        Task::VolumesTf32(volumes),
        Task::VolumesBf16(volumes),
        Task::NearestF16(scan),
        Task::NearestBf16(scan),
        Task::NearestI8(scan),
    ];
    let passes = [
        TensorPass::Scores,
        TensorPass::AnchorsProduct,
        TensorPass::ItemsProduct,
    ];
    tasks.extend(passes.map(|pass| Task::GramTf32(pass, loss)));
    tasks
}

/// Bytes of the one parameter of a kernel in a text.
fn parameter_bytes(text: &str, kernel: &str) -> Option<usize> {
    let name = format!("{kernel}_param_0[");
    let at = text.find(&name)? + name.len();
    text[at..].split(']').next()?.parse().ok()
}

/// The most threads of a block of a kernel, where a text says so.
fn most_threads(text: &str, kernel: &str) -> Option<u32> {
    let (_, entry) = text.split_once(&format!(".visible .entry {kernel}("))?;
    let (head, _) = entry.split_once("\n{")?;
    let (_, bound) = head.split_once(".maxntid ")?;
    bound.split(',').next()?.trim().parse().ok()
}

#[test]
fn every_text_has_every_kernel_with_its_parameters() {
    let [all, on_tensor_cores] = tasks();
    for (capability, text) in ptx::ALL {
        let more = on_tensor_cores.iter().filter(|_| capability >= 80);
        assert!(all.iter().all(|task| !task.is_on_tensor_cores()));
        assert!(on_tensor_cores.iter().all(Task::is_on_tensor_cores));
        for task in all.iter().chain(more) {
            let kernel = task.kernel();
            let (_, bytes) = task.parameters();
            assert_eq!(
                parameter_bytes(text, kernel),
                Some(bytes),
                "sm_{capability}: {kernel}"
            );
            let launch = task.launch([1, 1]);
            assert!(
                launch.threads.is_multiple_of(32) && launch.threads <= 1024,
                "{kernel}"
            );
            // Kernels that promise two blocks to a multiprocessor take no more threads.
            let is_scan = kernel.starts_with("nearest_");
            let bound = most_threads(text, kernel);
            assert!(bound.is_some() || !is_scan, "{kernel}");
            assert!(bound.is_none_or(|most| most == launch.threads), "{kernel}");
            // What a block may have without asking for more.
            assert!(launch.shared * 4 <= 48 << 10, "{kernel}");
        }
    }
}

/// What each launch asks for. The assembler tells only the memory that a kernel declares itself, which is none.
#[test]
fn the_table_of_launches_is_what_the_host_asks_for() {
    let mut lines: Vec<String> = tasks()
        .iter()
        .flatten()
        .map(|task| {
            let launch = task.launch([1, 1]);
            let bytes = 4 * launch.shared;
            format!("| {} | {} | {bytes} |\n", launch.kernel, launch.threads)
        })
        .collect();
    lines.sort();
    lines.dedup();
    let text = format!(
        "# How the host starts the kernels\n\nThreads of a block, and the bytes of shared memory that its launch asks for, \
         on every target.\n\n| kernel | threads | shared |\n|---|---|---|\n{}",
        lines.concat()
    );
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../cuda-kernels/ptx/launches.md"
    );
    if std::env::var_os("RIVERGRAM_BLESS").is_some() {
        std::fs::write(file, &text).expect("a file that can be written");
    }
    let stored = std::fs::read_to_string(file).expect("the table");
    assert_eq!(stored, text, "RIVERGRAM_BLESS=1 writes it anew");
}
