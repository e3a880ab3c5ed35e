//! The head: from target and interest to the logit.
//!
//! All heads see the same features: the target, the interest vectors, the product of each with the target, the evidence
//! columns: F = d (1 + 2 V) + E columns for V vectors and E evidence columns. FuxiCTR, where DCN-V2 and FinalMLP are usually
//! taken from, drops out after every hidden layer if at all; here every head does it after the first, as the plain MLP does.

use serde::{Deserialize, Serialize};

use crate::{
    Builder, Error, Init, Interest, Mat, ParamId, Pass, Result, check_heads,
    layers::{Linear, Mlp},
    ops::{self, Activation, Function},
};

/// The head of a [`crate::CtrModel`]. Fields that are not given have the values of [`HeadConfig::dcnv2`],
/// [`HeadConfig::final_mlp`] and the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// An MLP on the features. Without hidden layers it is a logistic regression.
    Mlp {
        /// Hidden widths.
        #[serde(default = "hidden")]
        hidden: Vec<usize>,
    },
    /// DCN-V2 (Wang et al., WWW 2021, arXiv 2008.13535): full-rank cross layers x_{l+1} = x_0 ∗ (W_l x_l + b_l) + x_l on
    /// the features x_0, in parallel with an MLP on them; one linear map of both gives the logit.
    ///
    /// The paper's other forms are left out: cross layers in front of the MLP instead of beside it, and mixtures of
    /// low-rank cross layers, which are cheaper.
    Dcnv2 {
        /// Number of cross layers.
        #[serde(default = "two")]
        cross: usize,
        /// Hidden widths of the MLP.
        #[serde(default = "hidden")]
        hidden: Vec<usize>,
    },
    /// FinalMLP (Mao et al., AAAI 2023, arXiv 2304.00902): two MLPs on the features e, each after a gate of its own,
    /// e ∗ 2σ(MLP(context)), and their outputs o_1, o_2 joined by
    /// w_1·o_1 + w_2·o_2 + b + Σ_h o_1hᵀ W_h o_2h over heads h.
    ///
    /// The paper takes the contexts from user features or item features, or learns a vector in their place (the default of
    /// FuxiCTR). Here the first stream's gate sees the target and the second's the interest, vectors and evidence: a
    /// learned vector would gate all samples alike.
    FinalMlp {
        /// Widths of the first stream.
        #[serde(default = "hidden")]
        first: Vec<usize>,
        /// Widths of the second stream.
        #[serde(default = "hidden")]
        second: Vec<usize>,
        /// Hidden widths of each gate; may be empty.
        #[serde(default = "gate")]
        gate: Vec<usize>,
        /// Heads of the bilinear fusion; must divide the last width of both streams.
        #[serde(default = "two")]
        heads: usize,
    },
}

fn hidden() -> Vec<usize> {
    vec![64, 32]
}

fn gate() -> Vec<usize> {
    vec![64]
}

fn two() -> usize {
    2
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self::Mlp { hidden: hidden() }
    }
}

impl HeadConfig {
    /// DCN-V2 with default sizes.
    pub fn dcnv2() -> Self {
        Self::Dcnv2 { cross: two(), hidden: hidden() }
    }

    /// FinalMLP with default sizes.
    pub fn final_mlp() -> Self {
        Self::FinalMlp { first: hidden(), second: hidden(), gate: gate(), heads: two() }
    }

    /// # Errors
    /// [`Error::Config`] for values that no head can be built from.
    pub fn check(&self) -> Result<()> {
        let widths = |field: &str, widths: &[usize], least: usize| {
            let message = match widths {
                w if w.contains(&0) => "widths must be at least 1",
                w if w.len() < least => "needs at least one layer",
                _ => return Ok(()),
            };
            Err(Error::config(format!("model.head.{field}"), format!("{widths:?}"), message))
        };
        match self {
            Self::Mlp { hidden } => widths("mlp.hidden", hidden, 0),
            Self::Dcnv2 { cross: 0, .. } => {
                Err(Error::config("model.head.dcnv2.cross", 0, "must be at least 1; mlp is the head without"))
            }
            Self::Dcnv2 { hidden, .. } => widths("dcnv2.hidden", hidden, 1),
            Self::FinalMlp { first, second, gate, heads } => {
                widths("final_mlp.first", first, 1)?;
                widths("final_mlp.second", second, 1)?;
                widths("final_mlp.gate", gate, 0)?;
                let mut last = first.last().into_iter().chain(second.last());
                last.try_for_each(|width| check_heads("model.head.final_mlp.heads", *heads, *width))
            }
        }
    }
}

/// A built [`HeadConfig`].
#[derive(Debug)]
pub(crate) enum Head {
    Mlp(Mlp),
    Dcnv2 { cross: Vec<Linear>, deep: Mlp, out: Linear },
    FinalMlp(FinalMlp),
}

/// Gates and streams are pairs: first, second.
#[derive(Debug)]
pub(crate) struct FinalMlp {
    gates: [Mlp; 2],
    streams: [Mlp; 2],
    out: Linear,
    /// W_h below each other, `[first, second / heads]`.
    bilinear: ParamId,
    heads: usize,
    /// Last widths of the streams.
    widths: [usize; 2],
}

impl Head {
    /// The head for an encoder that returns `columns` = (vectors, evidence columns); `dropout` after the first layer of
    /// each MLP on the features.
    ///
    /// # Errors
    /// Those of [`HeadConfig::check`], and [`Error::Config`] for FinalMLP where there is nothing to gate by.
    pub(crate) fn new(
        builder: &mut Builder<'_>,
        config: &HeadConfig,
        dropout: f32,
        (vectors, evidence): (usize, usize),
    ) -> Result<Self> {
        config.check()?;
        let target = builder.width();
        let interest = target * vectors + evidence;
        let width = target + target * vectors + interest;
        Ok(match config {
            HeadConfig::Mlp { hidden } => {
                Self::Mlp(Mlp::new(builder, width, hidden, 1).with_dropout(dropout))
            }
            HeadConfig::Dcnv2 { cross, hidden } => {
                let layer = |i: usize| Linear::new(&mut builder.at(&format!("cross.{i}")), width, width);
                let cross = (0..*cross).map(layer).collect();
                let deep = Mlp::hidden(&mut builder.at("deep"), width, hidden).with_dropout(dropout);
                let out = Linear::new(&mut builder.at("out"), width + last(hidden), 1);
                Self::Dcnv2 { cross, deep, out }
            }
            HeadConfig::FinalMlp { first, second, gate, heads } => {
                if interest == 0 {
                    let message = "gates by the encoder's interest, and this encoder has none";
                    return Err(Error::config("model.head", "final_mlp", message));
                }
                let mut gated =
                    |name: &str, input: usize| Mlp::new(&mut builder.at(name), input, gate, width);
                let gates = [gated("first.gate", target), gated("second.gate", interest)];
                let mut stream = |name: &str, hidden: &[usize]| {
                    Mlp::hidden(&mut builder.at(name), width, hidden).with_dropout(dropout)
                };
                let streams = [stream("first", first), stream("second", second)];
                let widths = [last(first), last(second)];
                let out = Linear::new(&mut builder.at("out"), widths[0] + widths[1], 1);
                // FuxiCTR's start: Xavier-normal for all W_h as one column.
                let std = (2.0 / (widths[0] * widths[1] / heads + 1) as f32).sqrt();
                let bilinear = builder.param("bilinear", widths[0], widths[1] / heads, Init::Normal(std));
                Self::FinalMlp(FinalMlp { gates, streams, out, bilinear, heads: *heads, widths })
            }
        })
    }

    /// # Shapes
    /// `target: [B, d]` and the encoder's `interest` in it → `[B, 1]`
    pub(crate) fn forward(&self, pass: &mut Pass<'_>, target: &Mat, interest: &Interest) -> Mat {
        let products: Vec<Mat> =
            interest.vectors.iter().map(|v| ops::mul(&mut pass.tape, target, v)).collect();
        let mut columns = vec![target];
        columns.extend(interest.vectors.iter().chain(&products).chain(&interest.evidence));
        let features = ops::concat(&mut pass.tape, &columns);
        match self {
            Self::Mlp(mlp) => mlp.forward(pass, &features),
            Self::Dcnv2 { cross, deep, out } => {
                let mut x = features.clone();
                for layer in cross {
                    let weights = layer.forward(pass, &x, Activation::None);
                    let crossed = ops::mul(&mut pass.tape, &features, &weights);
                    x = ops::add(&mut pass.tape, &crossed, &x);
                }
                let deep = deep.forward(pass, &features);
                let both = ops::concat(&mut pass.tape, &[&x, &deep]);
                out.forward(pass, &both, Activation::None)
            }
            Self::FinalMlp(head) => {
                let columns: Vec<&Mat> = interest.vectors.iter().chain(&interest.evidence).collect();
                let interest = ops::concat(&mut pass.tape, &columns);
                head.forward(pass, &features, [target, &interest])
            }
        }
    }

    /// MACs for `rows` rows.
    pub(crate) fn macs(&self, rows: usize) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.macs(rows),
            Self::Dcnv2 { cross, deep, out } => {
                cross.iter().map(|l| l.macs(rows)).sum::<usize>() + deep.macs(rows) + out.macs(rows)
            }
            Self::FinalMlp(head) => head.macs(rows),
        }
    }
}

impl FinalMlp {
    fn forward(&self, pass: &mut Pass<'_>, features: &Mat, contexts: [&Mat; 2]) -> Mat {
        let mut stream = |i: usize| {
            let gate = self.gates[i].forward(pass, contexts[i]);
            let gate = ops::map(&mut pass.tape, &gate, Function::Sigmoid);
            let half = ops::mul(&mut pass.tape, features, &gate);
            let gated = ops::add(&mut pass.tape, &half, &half);
            self.streams[i].forward(pass, &gated)
        };
        let (first, second) = (stream(0), stream(1));
        let both = ops::concat(&mut pass.tape, &[&first, &second]);
        let linear = self.out.forward(pass, &both, Activation::None);
        let bilinear = pass.param(self.bilinear);
        let mapped = ops::head_project(&mut pass.tape, &first, &bilinear, self.heads);
        let bilinear = ops::row_dots(&mut pass.tape, &mapped, &second, 1.0);
        ops::add(&mut pass.tape, &linear, &bilinear)
    }

    fn macs(&self, rows: usize) -> usize {
        let mlps = self.gates.iter().chain(&self.streams).map(|m| m.macs(rows)).sum::<usize>();
        let [first, second] = self.widths;
        mlps + self.out.macs(rows) + rows * (first * second / self.heads + second)
    }
}

/// The last of widths that [`HeadConfig::check`] has seen.
fn last(widths: &[usize]) -> usize {
    widths.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use mos_data::{Batch, Catalog, rng};

    use super::*;
    use crate::{
        Cost, CtrModel, ItemIndex, ModelConfig, Params, Tables, Tape, TrainConfig, checkpoint, cost,
        testing::Mean,
    };

    const D: usize = 4;
    const ROWS: usize = 5;

    fn random(rows: usize, cols: usize, seed: u64) -> Mat {
        let mut draw = rng::stream(seed, "tests", &[]);
        Mat::new(rows, cols, Init::Normal(0.7).values(rows, cols, &mut draw))
    }

    fn catalog() -> Arc<Catalog> {
        Arc::new(Catalog { items: 12, behaviours: 1, ..Catalog::default() })
    }

    fn small() -> [HeadConfig; 6] {
        let (first, second) = (vec![6, 4], vec![5, 6]);
        [
            HeadConfig::Mlp { hidden: vec![] },
            HeadConfig::Mlp { hidden: vec![6, 4] },
            HeadConfig::Dcnv2 { cross: 1, hidden: vec![3] },
            HeadConfig::Dcnv2 { cross: 3, hidden: vec![6, 4] },
            HeadConfig::FinalMlp { first: vec![3], second: vec![2], gate: vec![], heads: 1 },
            HeadConfig::FinalMlp { first, second, gate: vec![3], heads: 2 },
        ]
    }

    /// A head for two vectors and one evidence column, all its parameters random, biases too.
    fn built(config: &HeadConfig) -> (Head, Params) {
        let (mut params, mut tables) = (Params::default(), Tables::default());
        let catalog = catalog();
        let mut builder = Builder::new(&mut params, &mut tables, &catalog, D, 1);
        let head = Head::new(&mut builder.at("head"), config, 0.3, (2, 1)).unwrap();
        for (i, id) in params.ids().enumerate() {
            let (rows, cols) = (params.get(id).rows(), params.get(id).cols());
            params.set(id, random(rows, cols, 100 + i as u64).to_vec());
        }
        (head, params)
    }

    /// The papers' formulas, sample by sample in f64.
    struct Oracle<'a>(&'a Params);

    impl Oracle<'_> {
        fn at(&self, name: &str, row: usize, col: usize) -> f64 {
            let name = format!("head.{name}");
            let id = self.0.ids().find(|id| self.0.name(*id) == name);
            let value = self.0.get(id.unwrap_or_else(|| panic!("no parameter {name}")));
            f64::from(value.values()[row * value.cols() + col])
        }

        fn affine(&self, name: &str, x: &[f64], width: usize) -> Vec<f64> {
            let column = |j: usize| -> f64 {
                let weights = (0..x.len()).map(|i| x[i] * self.at(&format!("{name}.weight"), i, j));
                weights.sum::<f64>() + self.at(&format!("{name}.bias"), 0, j)
            };
            (0..width).map(column).collect()
        }

        /// ReLU after every layer.
        fn relus(&self, path: &str, x: &[f64], widths: &[usize]) -> Vec<f64> {
            widths.iter().enumerate().fold(x.to_vec(), |x, (i, width)| {
                let y = self.affine(&format!("{path}{i}"), &x, *width);
                y.into_iter().map(|y| y.max(0.0)).collect()
            })
        }

        fn logit(&self, config: &HeadConfig, x: &[f64], target: &[f64], interest: &[f64]) -> f64 {
            match config {
                HeadConfig::Mlp { hidden } => {
                    let y = self.relus("", x, hidden);
                    self.affine(&hidden.len().to_string(), &y, 1)[0]
                }
                HeadConfig::Dcnv2 { cross, hidden } => {
                    let mut crossed = x.to_vec();
                    for l in 0..*cross {
                        let y = self.affine(&format!("cross.{l}"), &crossed, x.len());
                        crossed = (0..x.len()).map(|i| x[i] * y[i] + crossed[i]).collect();
                    }
                    crossed.extend(self.relus("deep.", x, hidden));
                    self.affine("out", &crossed, 1)[0]
                }
                HeadConfig::FinalMlp { first, second, gate, heads } => {
                    let stream = |path: &str, context: &[f64], widths: &[usize]| {
                        let y = self.relus(&format!("{path}.gate."), context, gate);
                        let y = self.affine(&format!("{path}.gate.{}", gate.len()), &y, x.len());
                        let gated: Vec<f64> =
                            (0..x.len()).map(|i| 2.0 / (1.0 + (-y[i]).exp()) * x[i]).collect();
                        self.relus(&format!("{path}."), &gated, widths)
                    };
                    let (one, two) = (stream("first", target, first), stream("second", interest, second));
                    let mut logit = self.affine("out", &[one.clone(), two.clone()].concat(), 1)[0];
                    let (high, wide) = (one.len() / heads, two.len() / heads);
                    for h in 0..*heads {
                        for i in 0..high {
                            for j in 0..wide {
                                let w = self.at("bilinear", h * high + i, j);
                                logit += one[h * high + i] * w * two[h * wide + j];
                            }
                        }
                    }
                    logit
                }
            }
        }
    }

    #[test]
    fn logits_and_cost_are_those_of_the_formulas() {
        let target = random(ROWS, D, 1);
        let vectors = vec![random(ROWS, D, 2), random(ROWS, D, 3)];
        let interest = Interest { vectors, evidence: vec![random(ROWS, 1, 4)] };
        for config in small() {
            let (head, params) = built(&config);
            let (tables, index) = (Tables::default(), ItemIndex { items: Vec::new() });
            let mut pass = Pass::new(Tape::scoring(), &params, &tables, &index, rng::stream(1, "tests", &[]));
            let (logits, cost) = cost::measure(|| head.forward(&mut pass, &target, &interest));
            assert_eq!((logits.rows(), logits.cols()), (ROWS, 1));
            assert_eq!(cost, Cost::encoder(head.macs(ROWS)), "{config:?}");
            pass.tape = Tape::training();
            let mut pass = pass.of_step(&[]);
            let dropped = head.forward(&mut pass, &target, &interest);
            let linear = config == HeadConfig::Mlp { hidden: vec![] };
            assert_eq!(dropped.values() == logits.values(), linear, "{config:?}: dropout in training alone");
            for (r, found) in logits.values().iter().enumerate() {
                let row = |m: &Mat| -> Vec<f64> {
                    m.values()[r * m.cols()..(r + 1) * m.cols()].iter().map(|x| f64::from(*x)).collect()
                };
                let [target, v1, v2] = [&target, &interest.vectors[0], &interest.vectors[1]].map(row);
                let evidence = row(&interest.evidence[0]);
                let product = |v: &[f64]| -> Vec<f64> { v.iter().zip(&target).map(|(v, t)| v * t).collect() };
                let (p1, p2) = (product(&v1), product(&v2));
                let features = [&target[..], &v1, &v2, &p1, &p2, &evidence].concat();
                let wanted =
                    Oracle(&params).logit(&config, &features, &target, &[&v1[..], &v2, &evidence].concat());
                let near = (f64::from(*found) - wanted).abs() < 1e-5 * (1.0 + wanted.abs());
                assert!(near, "{config:?}: {found} against {wanted}");
            }
        }
    }

    #[test]
    fn defaults_fill_in_and_configurations_survive_toml_and_json() {
        let read = |text: &str| toml::from_str::<ModelConfig>(text).map_err(|e| e.to_string());
        let head = |text: &str| read(text).map(|c| c.head);
        assert_eq!(head(""), Ok(HeadConfig::Mlp { hidden: vec![64, 32] }));
        assert_eq!(head("head = { mlp = {} }"), Ok(HeadConfig::default()));
        assert_eq!(head("head = { dcnv2 = {} }"), Ok(HeadConfig::dcnv2()));
        assert_eq!(head("[head.final_mlp]"), Ok(HeadConfig::final_mlp()));
        let three = HeadConfig::Dcnv2 { cross: 3, hidden: vec![64, 32] };
        assert_eq!(head("head = { dcnv2 = { cross = 3 } }"), Ok(three));
        for (text, wanted) in [
            ("head = { dcn = {} }", "unknown variant `dcn`"),
            ("head = { dcnv2 = { layers = 3 } }", "layers, available keys: cross, hidden"),
            ("head = [64, 32]", "head"),
        ] {
            let error = head(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        for head in small().into_iter().chain([HeadConfig::dcnv2(), HeadConfig::final_mlp()]) {
            let config = ModelConfig { head, ..ModelConfig::default() };
            assert_eq!(read(&toml::to_string(&config).unwrap()), Ok(config.clone()));
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<ModelConfig>(&json).unwrap(), config);
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused_by_name() {
        let final_mlp = |first: &[usize], second: &[usize], gate: &[usize], heads: usize| {
            let [first, second, gate] = [first, second, gate].map(<[usize]>::to_vec);
            HeadConfig::FinalMlp { first, second, gate, heads }
        };
        for (config, wanted) in [
            (HeadConfig::Mlp { hidden: vec![4, 0] }, "mlp.hidden = [4, 0]: widths must be at least 1"),
            (HeadConfig::Dcnv2 { cross: 0, hidden: vec![4] }, "dcnv2.cross = 0: must be at least 1"),
            (HeadConfig::Dcnv2 { cross: 1, hidden: vec![] }, "dcnv2.hidden = []: needs at least one layer"),
            (HeadConfig::Dcnv2 { cross: 1, hidden: vec![0] }, "dcnv2.hidden = [0]: widths"),
            (final_mlp(&[], &[4], &[], 1), "final_mlp.first = []: needs at least one layer"),
            (final_mlp(&[4], &[4, 0], &[], 1), "final_mlp.second = [4, 0]: widths"),
            (final_mlp(&[4], &[4], &[0], 1), "final_mlp.gate = [0]: widths"),
            (final_mlp(&[4], &[4], &[], 0), "final_mlp.heads = 0: must divide the width 4"),
            (final_mlp(&[4], &[4], &[], 3), "final_mlp.heads = 3: must divide the width 4"),
            (final_mlp(&[4], &[6], &[], 4), "final_mlp.heads = 4: must divide the width 6"),
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(wanted) && error.starts_with("model.head."), "{error}");
        }
        let (mut params, mut tables, catalog) = (Params::default(), Tables::default(), catalog());
        let mut builder = Builder::new(&mut params, &mut tables, &catalog, D, 1);
        let error = Head::new(&mut builder, &HeadConfig::final_mlp(), 0.0, (0, 0)).unwrap_err();
        assert!(error.to_string().contains("this encoder has none"), "{error}");
    }

    #[test]
    fn a_model_with_each_head_learns_and_survives_a_checkpoint() {
        // A click where the target's parity is that of the behaviours: no single feature tells.
        let samples = 64u32;
        let batch = Batch {
            users: (0..samples).collect(),
            targets: (0..samples).map(|b| 1 + b % 10).collect(),
            labels: (0..samples).map(|b| f32::from(b % 2 == b / 10 % 2)).collect(),
            offsets: (0..=samples as usize).map(|b| 2 * b).collect(),
            items: (0..samples).flat_map(|b| [1 + b / 10 % 2, 3 + b / 10 % 2]).collect(),
            behaviours: vec![0; 2 * samples as usize],
            sessions: vec![0; 2 * samples as usize],
            times: vec![0; 2 * samples as usize],
            target_times: vec![1; samples as usize],
            contexts: Vec::new(),
            truncated: 0,
        };
        let folder = tempfile::tempdir().unwrap();
        for head in small().into_iter().skip(1) {
            let config = ModelConfig { dim: 8, item_std: 0.3, head, ..ModelConfig::default() };
            let model = |seed| CtrModel::new(&config, &catalog(), seed, |_| Ok(Box::new(Mean))).unwrap();
            let (mut subject, train) = (model(1), TrainConfig::default());
            let losses: Vec<f32> =
                (0..200).map(|_| subject.train_step(&batch, &train, 200, 200).unwrap().loss).collect();
            assert!(losses[199] < 0.5 * losses[0], "{:?}: {} to {}", config.head, losses[0], losses[199]);
            subject.prepare_scoring();
            let executed = subject.score_counted(&batch).unwrap().1;
            let formula = subject.stated_cost(&batch).unwrap().executed();
            assert_eq!(executed, formula, "{:?}", config.head);
            let path = folder.path().join("model.safetensors");
            checkpoint::save(&subject, &path, HashMap::<String, String>::new()).unwrap();
            let mut other = model(2);
            assert_ne!(other.score(&batch).unwrap(), subject.score(&batch).unwrap());
            checkpoint::load(&mut other, &path).unwrap();
            assert_eq!(other.score(&batch).unwrap(), subject.score(&batch).unwrap());
        }
    }
}
