//! Every public operation of `mos_core::ops` with inputs of a chosen size, for the benches of time and of instructions.

use std::hint::black_box;

use mos_core::{
    Init, Mat, Offsets, Tape,
    ops::{self, Activation, Bias, Function, Weighting},
};
use mos_data::rng;
use rand::RngExt as _;

use Kind::{Any, Positive};

/// How large inputs are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Histories.
    pub(crate) samples: usize,
    /// Mean length of a history.
    pub(crate) length: usize,
    /// Columns of a behaviour.
    pub(crate) width: usize,
}

/// Inputs that stay in the fast caches.
pub(crate) const SMALL: Size = Size { samples: 16, length: 20, width: 16 };

/// Heads of an attention.
const HEADS: usize = 4;
/// Columns of gates, memberships and scores.
const EXPERTS: usize = 8;
/// Bits of hashes: a word, or 16 codes of 4.
const BITS: usize = 64;
/// Rows of tables of positions, distances and gaps.
const BUCKETS: usize = 32;
/// States of each channel of a scan.
const STATES: usize = 16;

/// What operations read beside matrices.
#[derive(Debug)]
pub(crate) struct Given {
    /// Histories, their rows, and columns of a row.
    b: usize,
    n: usize,
    d: usize,
    histories: Offsets,
    /// Rows of each history that a search keeps.
    kept: usize,
    /// The same rows in segments of at most `kept`: what follows a search.
    found: Offsets,
    /// Every row once, in any order.
    order: Vec<u32>,
    /// Neighbouring rows.
    pairs: Vec<(u32, u32)>,
    labels: Vec<f32>,
    /// Time of each row, and of what follows it.
    times: Vec<i64>,
    next: Vec<i64>,
    planes: Vec<f32>,
    codes: Vec<f32>,
    /// Code of each row.
    assigned: Vec<u32>,
    /// Hash of each row.
    words: Vec<u64>,
}

impl Given {
    /// Of this size; lengths lie evenly between a half and one and a half of the mean.
    pub(crate) fn new(size: Size) -> Self {
        let Size { samples: b, length, width: d } = size;
        let mut draw = rng::stream(1, "bench/given", &[]);
        let histories = Offsets::from_lengths((0..b).map(|i| length / 2 + i * length / (b - 1)));
        let (n, kept) = (histories.rows(), length / 5);
        let pieces = |n: usize| (0..n).step_by(kept).map(move |from| kept.min(n - from));
        let mut order: Vec<u32> = (0..n as u32).collect();
        (1..n).for_each(|i| order.swap(i, draw.random_range(0..=i as u32) as usize));
        Self {
            found: Offsets::from_lengths(histories.lengths().flat_map(pieces)),
            pairs: (1..n as u32).map(|r| (r - 1, r)).collect(),
            labels: (0..b).map(|i| (i % 2) as f32).collect(),
            times: (0..n as i64).map(|t| 600 * t).collect(),
            next: (1..=n as i64).map(|t| 600 * t).collect(),
            planes: Init::Normal(1.0).values(d, BITS, &mut draw),
            codes: Init::Normal(1.0).values(EXPERTS, d, &mut draw),
            assigned: (0..n).map(|_| draw.random_range(0..EXPERTS as u32)).collect(),
            words: (0..n).map(|_| draw.random()).collect(),
            b,
            n,
            d,
            histories,
            kept,
            order,
        }
    }

    /// The matrices that an operation reads.
    pub(crate) fn inputs(&self, operation: &Operation) -> Vec<Mat> {
        let mut draw = rng::stream(1, "bench/inputs", &[]);
        let mut input = |(kind, rows, cols): (Kind, usize, usize)| {
            let mut values = Init::Normal(0.7).values(rows, cols, &mut draw);
            if kind == Kind::Positive {
                values.iter_mut().for_each(|x| *x = x.abs() + 0.1);
            }
            Mat::new(rows, cols, values)
        };
        (operation.shapes)(self).into_iter().map(&mut input).collect()
    }
}

/// Values of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Positive,
}

/// Kind, rows and columns of each input.
type Shapes = fn(&Given) -> Vec<(Kind, usize, usize)>;
type Taped = fn(&mut Tape, &[Mat], &Given) -> Mat;
type Plain = fn(&[Mat], &Given);

#[derive(Clone, Copy, Debug)]
enum Work {
    /// Has a backward pass.
    Taped(Taped),
    /// Has none.
    Plain(Plain),
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// Name of the function; `:` is followed by a form of it.
    pub(crate) name: &'static str,
    shapes: Shapes,
    work: Work,
}

const fn taped(name: &'static str, shapes: Shapes, work: Taped) -> Operation {
    Operation { name, shapes, work: Work::Taped(work) }
}

const fn plain(name: &'static str, shapes: Shapes, work: Plain) -> Operation {
    Operation { name, shapes, work: Work::Plain(work) }
}

impl Operation {
    /// Whether it has a backward pass.
    pub(crate) fn is_taped(&self) -> bool {
        matches!(self.work, Work::Taped(_))
    }

    /// What scoring does.
    pub(crate) fn forward(&self, inputs: &[Mat], given: &Given) {
        match self.work {
            // Gathered rows are copied when they are read.
            Work::Taped(work) => {
                black_box(work(&mut Tape::scoring(), inputs, given).values());
            }
            Work::Plain(work) => work(inputs, given),
        }
    }

    /// What training does: forward and backward, where there is one. The gradient of the output is a copy of it.
    pub(crate) fn both(&self, inputs: &[Mat], given: &Given) {
        let Work::Taped(work) = self.work else { return self.forward(inputs, given) };
        let mut tape = Tape::training();
        let out = work(&mut tape, inputs, given);
        let loss = tape.record(
            &[&out],
            (1, 1),
            |_| (vec![0.0], ()),
            |back, ()| back.grads[0].copy_from_slice(&back.values[0]),
        );
        black_box(tape.backward(&loss).expect("the loss is a scalar"));
    }
}

/// All operations, in the order of `mos_core::ops`.
pub(crate) const OPERATIONS: &[Operation] = &[
    taped("attend", queries_and_rows, |t, v, g| ops::attend(t, &v[0], &v[1], &g.histories, HEADS, 0.2, None)),
    taped("attend:top", queries_and_rows, |t, v, g| {
        ops::attend(t, &v[0], &v[1], &g.histories, HEADS, 0.2, Some(g.kept))
    }),
    plain("best_rows", scores, |v, g| {
        black_box(ops::best_rows(v[0].values(), &g.histories, g.kept));
    }),
    taped(
        "din_hidden",
        |g| vec![(Any, g.b, g.d), (Any, g.n, g.d), (Any, 4 * g.d, g.d), (Any, 1, g.d)],
        |t, v, g| ops::din_hidden(t, &v[0], &v[1], &g.histories, &v[2], &v[3]),
    ),
    taped("head_project", heads_and_map, |t, v, _| ops::head_project(t, &v[0], &v[1], HEADS)),
    taped(
        "stacked_linear",
        |g| vec![(Any, g.b, g.d), (Any, HEADS * g.d, g.d)],
        |t, v, _| ops::stacked_linear(t, &v[0], &v[1], HEADS),
    ),
    taped("add", two, |t, v, _| ops::add(t, &v[0], &v[1])),
    taped("columns", rows, |t, v, g| ops::columns(t, &v[0], g.d / 4, g.d / 2)),
    taped("concat", two, |t, v, _| ops::concat(t, &[&v[0], &v[1]])),
    taped("dropout", rows, |t, v, _| ops::dropout(t, &v[0], 0.1, &mut rng::stream(1, "bench/dropout", &[]))),
    taped("gather_rows", rows, |t, v, g| ops::gather_rows(t, &v[0], &g.order)),
    taped(
        "layer_norm",
        |g| vec![(Any, g.n, g.d), (Any, 1, g.d), (Any, 1, g.d)],
        |t, v, _| ops::layer_norm(t, &v[0], &v[1], &v[2], 1e-5),
    ),
    taped("linear", rows_and_map, |t, v, _| ops::linear(t, &v[0], &v[1], Some(&v[2]), Activation::None)),
    taped("linear:relu", rows_and_map, |t, v, _| ops::linear(t, &v[0], &v[1], Some(&v[2]), Activation::Relu)),
    taped("map:sigmoid", rows, |t, v, _| ops::map(t, &v[0], Function::Sigmoid)),
    taped("map:silu", rows, |t, v, _| ops::map(t, &v[0], Function::Silu)),
    taped("map:gelu", rows, |t, v, _| ops::map(t, &v[0], Function::Gelu)),
    taped("map:softplus", rows, |t, v, _| ops::map(t, &v[0], Function::Softplus)),
    taped("map:leaky_relu", rows, |t, v, _| ops::map(t, &v[0], Function::LeakyRelu)),
    taped("matmul_nt", rows_and_codes, |t, v, _| ops::matmul_nt(t, &v[0], &v[1])),
    taped(
        "mix",
        |g| vec![(Any, g.n, 2), (Any, g.n, g.d), (Any, g.n, g.d)],
        |t, v, _| ops::mix(t, &v[0], &[&v[1], &v[2]]),
    ),
    taped("mul", two, |t, v, _| ops::mul(t, &v[0], &v[1])),
    taped("normalize_rows", rows, |t, v, _| ops::normalize_rows(t, &v[0])),
    taped(
        "power_norm",
        |g| vec![(Positive, g.b, g.d), (Positive, g.b, g.d)],
        |t, v, _| ops::power_norm(t, &[&v[0], &v[1]], 4.0),
    ),
    taped("renormalize_rows", shares, |t, v, _| ops::renormalize_rows(t, &v[0])),
    taped("reshape", rows, |t, v, g| ops::reshape(t, &v[0], 2 * g.n, g.d / 2)),
    taped("row_dots", two, |t, v, _| ops::row_dots(t, &v[0], &v[1], 0.2)),
    taped(
        "scale_columns",
        |g| vec![(Any, g.n, g.d), (Any, 1, g.d)],
        |t, v, _| ops::scale_columns(t, &v[0], &v[1]),
    ),
    taped("scale_rows", |g| vec![(Any, g.n, g.d), (Any, g.n, 1)], |t, v, _| ops::scale_rows(t, &v[0], &v[1])),
    taped("scatter_rows", rows, |t, v, g| ops::scatter_rows(t, &v[0], &g.order, g.n)),
    taped("softmax_rows", gates, |t, v, _| ops::softmax_rows(t, &v[0], 0.5)),
    taped("subtract", two, |t, v, _| ops::subtract(t, &v[0], &v[1])),
    taped("sum_gathered", two, |t, v, g| ops::sum_gathered(t, &[(&v[0], &g.order), (&v[1], &g.assigned)])),
    taped("hilbert", rows, |t, v, g| ops::hilbert(t, &v[0], &g.found)),
    taped("entropy", shares, |t, v, _| ops::entropy(t, &v[0])),
    taped("smooth_selectors", |g| vec![(Any, g.n, 3)], |t, v, _| ops::smooth_selectors(t, &v[0])),
    taped("square_logsumexp", gates, |t, v, _| ops::square_logsumexp(t, &v[0])),
    taped(
        "top_k_probability",
        |g| vec![(Any, g.n, EXPERTS), (Any, g.n, EXPERTS), (Positive, g.n, EXPERTS)],
        |t, v, _| ops::top_k_probability(t, &v[0], &v[1], &v[2], 2),
    ),
    taped(
        "hash_pool",
        |g| vec![(Any, g.b, g.d), (Any, g.n, g.d)],
        |t, v, g| ops::hash_pool(t, &v[0], &v[1], &g.histories, &g.planes, BITS / 4, 4),
    ),
    plain("hash_words", rows, |v, g| {
        black_box(ops::hash_words(v[0].values(), g.d, &g.planes, BITS));
    }),
    plain(
        "nearest_words",
        |_| Vec::new(),
        |_, g| {
            black_box(ops::nearest_words(&g.words[..g.b], &g.words, &g.histories, g.kept));
        },
    ),
    plain("signatures", rows, |v, g| {
        black_box(ops::signatures(v[0].values(), g.d, &g.planes, BITS / 4, 4));
    }),
    taped(
        "add_positions",
        |g| vec![(Any, g.n, g.d), (Any, BUCKETS, g.d)],
        |t, v, g| ops::add_positions(t, &v[0], &g.histories, &v[1]),
    ),
    taped(
        "append_rows",
        |g| vec![(Any, g.n, g.d), (Any, g.b, g.d)],
        |t, v, g| ops::append_rows(t, &v[0], &v[1], &g.histories).0,
    ),
    taped("entmax15", gates, |t, v, g| ops::entmax15(t, &v[0], &g.histories)),
    taped("last_rows", rows, |t, v, g| ops::last_rows(t, &v[0], &g.histories)),
    taped("pool_blocks", rows, |t, v, g| ops::pool_blocks(t, &v[0], &g.histories, 4).0),
    taped(
        "segment_dots",
        |g| vec![(Any, g.b, g.d), (Any, g.n, g.d)],
        |t, v, g| ops::segment_dots(t, &v[0], &v[1], &g.histories, HEADS),
    ),
    taped(
        "segment_head_sums",
        |g| vec![(Any, g.n, HEADS), (Any, g.n, g.d)],
        |t, v, g| ops::segment_head_sums(t, &v[0], &v[1], &g.histories),
    ),
    taped("segment_mean", rows, |t, v, g| ops::segment_mean(t, &v[0], &g.histories)),
    taped("segment_shares", shares, |t, v, g| ops::segment_shares(t, &v[0], &g.histories)),
    taped("segment_softmax", gates, |t, v, g| ops::segment_softmax(t, &v[0], &g.histories)),
    taped("weighted_sum", scores_and_rows, |t, v, g| ops::weighted_sum(t, &v[0], &v[1], &g.histories, false)),
    taped("weighted_sum:soft", scores_and_rows, |t, v, g| {
        ops::weighted_sum(t, &v[0], &v[1], &g.histories, true)
    }),
    taped(
        "zero_where_empty",
        |g| vec![(Any, g.b, g.d)],
        |t, v, g| ops::zero_where_empty(t, &v[0], &g.histories),
    ),
    taped("bce_with_logits", |g| vec![(Any, g.b, 1)], |t, v, g| ops::bce_with_logits(t, &v[0], &g.labels)),
    taped("cosine_commitment", rows, |t, v, g| ops::cosine_commitment(t, &v[0], &g.codes, &g.assigned)),
    taped("mean_square", rows, |t, v, _| ops::mean_square(t, &v[0])),
    taped(
        "sum_scalars",
        |_| vec![(Any, 1, 1), (Any, 1, 1)],
        |t, v, _| ops::sum_scalars(t, &[(&v[0], 1.0), (&v[1], 0.1)]),
    ),
    taped(
        "causal_conv",
        |g| vec![(Any, g.n, g.d), (Any, 4, g.d), (Any, 1, g.d)],
        |t, v, g| ops::causal_conv(t, &v[0], &v[1], &v[2], &g.histories),
    ),
    taped(
        "gru",
        |g| vec![(Any, g.n, 3 * g.d), (Any, g.d, 3 * g.d)],
        |t, v, g| ops::gru(t, &v[0], &v[1], None, &g.histories),
    ),
    taped(
        "gru:attention",
        |g| vec![(Any, g.n, 3 * g.d), (Any, g.d, 3 * g.d), (Positive, g.n, 1)],
        |t, v, g| ops::gru(t, &v[0], &v[1], Some(&v[2]), &g.histories),
    ),
    taped(
        "selective_scan",
        |g| scanned(g, g.n),
        |t, v, g| ops::selective_scan(t, (&v[0], &v[1]), &v[2], (&v[3], &v[4]), &v[5], &g.histories),
    ),
    taped(
        "selective_scan_last",
        |g| scanned(g, g.b),
        |t, v, g| ops::selective_scan_last(t, (&v[0], &v[1]), &v[2], (&v[3], &v[4]), &v[5], &g.histories),
    ),
    taped("self_attend", three, |t, v, g| {
        let softmax = Weighting::Softmax { scale: 0.2 };
        ops::self_attend(t, (&v[0], &v[1], &v[2]), None, &g.histories, HEADS, softmax, false)
    }),
    taped(
        "self_attend:hstu",
        |g| [three(g), vec![(Any, 1, BUCKETS), (Any, 1, BUCKETS)]].concat(),
        |t, v, g| {
            let bias = Bias { distance: &v[3], gap: &v[4], times: &g.times, next: &g.next };
            let silu = Weighting::Silu { scale: 0.01 };
            ops::self_attend(t, (&v[0], &v[1], &v[2]), Some(bias), &g.histories, HEADS, silu, true)
        },
    ),
    taped("memberships", rows_and_codes, |t, v, _| ops::memberships(t, &v[0], &v[1], 0.5)),
    taped("mutual_information", shares, |t, v, g| ops::mutual_information(t, &v[0], &g.pairs)),
];

fn rows(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, g.d)]
}

fn two(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, g.d); 2]
}

fn three(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, g.d); 3]
}

fn gates(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, EXPERTS)]
}

fn shares(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Positive, g.n, EXPERTS)]
}

fn scores(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, 1)]
}

fn scores_and_rows(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, 1), (Any, g.n, g.d)]
}

fn rows_and_codes(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, g.d), (Any, EXPERTS, g.d)]
}

fn rows_and_map(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.n, g.d), (Any, g.d, g.d), (Any, 1, g.d)]
}

fn queries_and_rows(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.b, HEADS * g.d), (Any, g.n, g.d)]
}

fn heads_and_map(g: &Given) -> Vec<(Kind, usize, usize)> {
    vec![(Any, g.b, HEADS * g.d), (Any, HEADS * g.d, g.d / HEADS)]
}

fn scanned(g: &Given, read: usize) -> Vec<(Kind, usize, usize)> {
    let (n, d) = (g.n, g.d);
    let rows = [(Any, n, d), (Positive, n, d), (Any, d, STATES), (Any, n, STATES)];
    [&rows[..], &[(Any, read, STATES), (Any, 1, d)]].concat()
}
