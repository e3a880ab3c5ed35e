//! What is known beside ids: attributes of items, and the context of a prediction.
//!
//! An attribute is added to the item's embedding, so that every encoder sees it in targets and behaviours and none has to know of
//! it: e(i) = E[i] + Σ A[value], the mean of the values where there are several, and W v for a dense vector v. Where others
//! concatenate embeddings of attributes, their first linear layer adds them up: it can make any of these sums of wider
//! vectors. A context field has an embedding that the head reads, one column for each of its d values.
//!
//! Embeddings of values start at zero and value 0, none, stays there: a value that training never met says nothing.

use mos_data::{Catalog, ContextField, FeatureValues, nearest_name};

use crate::{
    Builder, Error, Mat, Offsets, Params, Pass, Result, TableId, Tables,
    engine::BufferId,
    layers::Linear,
    ops::{self, Activation},
};

/// What attributes are called in messages.
const WHAT: &str = "attributes of items";

/// The attributes that a model reads.
#[derive(Debug)]
pub(crate) struct Attributes {
    parts: Vec<Attribute>,
}

#[derive(Debug)]
enum Attribute {
    /// One value of each item, and their embeddings.
    One { ids: Vec<u32>, table: TableId },
    /// Any number of values.
    Many { offsets: Vec<usize>, ids: Vec<u32>, table: TableId },
    /// A vector of each item, as a table that is not trained, its map, and what the map makes of all of them for scoring.
    Dense { vectors: TableId, map: Linear, mapped: BufferId },
}

/// The column of the catalog that an attribute's name stands for: one of [`Catalog::features`], else `category` or `content`.
pub(crate) fn column(catalog: &Catalog, name: &str) -> Option<FeatureValues> {
    if let Some(feature) = catalog.features.iter().find(|f| f.name == name) {
        return Some(feature.values.clone());
    }
    match name {
        "category" => {
            let ids = catalog.categories.clone()?;
            Some(FeatureValues::One { ids, count: catalog.category_count })
        }
        "content" => catalog.content.clone().map(FeatureValues::Dense),
        _ => None,
    }
}

impl Attributes {
    /// The attributes `names` of the builder's catalog.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that the catalog does not have, or that stands there twice.
    pub(crate) fn new(builder: &mut Builder<'_>, names: &[String]) -> Result<Self> {
        let width = builder.width();
        let catalog = builder.catalog().clone();
        let known = catalog.attributes();
        check_names("model.attributes", WHAT, names, &known)?;
        let part = |name: &String| {
            let mut at = builder.at(name);
            Ok(
                match column(&catalog, name).ok_or_else(|| unknown("model.attributes", WHAT, name, &known))? {
                    FeatureValues::One { ids, count } => {
                        Attribute::One { ids, table: at.value_table("values", count, width) }
                    }
                    FeatureValues::Many { offsets, ids, count } => {
                        Attribute::Many { offsets, ids, table: at.value_table("values", count, width) }
                    }
                    FeatureValues::Dense(content) => {
                        let map = Linear::without_bias(&mut at, content.dim, width);
                        let mapped = at.derived("mapped", width);
                        Attribute::Dense {
                            vectors: at.frozen_table("vectors", content.dim, content.values),
                            map,
                            mapped,
                        }
                    }
                },
            )
        };
        Ok(Self { parts: names.iter().map(part).collect::<Result<_>>()? })
    }

    /// # Shapes
    /// embeddings `[U, d]` of the pass's distinct items → `[U, d]`
    pub(crate) fn add(&self, pass: &mut Pass<'_>, embeddings: Mat) -> Mat {
        let items = &pass.index.items;
        self.parts.iter().fold(embeddings, |sum, part| match part {
            Attribute::One { ids, table } => {
                let values: Vec<u32> = items.iter().map(|i| ids[*i as usize]).collect();
                let (rows, places) = pass.value_rows(*table, &values);
                pass.tape.gathered(items.len(), &[(&sum, None), (&rows, Some(&places))])
            }
            Attribute::Many { offsets, ids, table } => {
                let range = |i: &u32| offsets[*i as usize]..offsets[*i as usize + 1];
                let values: Vec<u32> = items.iter().flat_map(|i| &ids[range(i)]).copied().collect();
                let borders = Offsets::from_lengths(items.iter().map(|i| range(i).len()));
                let (rows, places) = pass.value_rows(*table, &values);
                let rows = ops::gather_rows(&mut pass.tape, &rows, &places);
                let means = ops::segment_mean(&mut pass.tape, &rows, &borders);
                ops::add(&mut pass.tape, &sum, &means)
            }
            Attribute::Dense { vectors, map, mapped } => {
                let mapped = if pass.is_training() {
                    let vectors = pass.tables.gather(*vectors, items);
                    map.forward(pass, &vectors, Activation::None)
                } else {
                    let (all, d) = (pass.buffer(*mapped), sum.cols());
                    let rows = items.iter().flat_map(|i| &all[*i as usize * d..(*i as usize + 1) * d]);
                    Mat::new(items.len(), d, rows.copied().collect())
                };
                ops::add(&mut pass.tape, &sum, &mapped)
            }
        })
    }

    /// Maps the vectors of all items: scoring looks them up, so that they cost it nothing.
    pub(crate) fn prepare(&self, params: &mut Params, tables: &Tables) {
        for part in &self.parts {
            if let Attribute::Dense { vectors, map, mapped } = part {
                let values = map.of_all(params, tables.values(*vectors));
                params.set_buffer(*mapped, values);
            }
        }
    }
}

/// The fields of the context that a model reads: place in the batch, and embeddings.
#[derive(Debug)]
pub(crate) struct ContextFields {
    parts: Vec<(usize, TableId)>,
    /// Fields of the catalog.
    fields: usize,
}

impl ContextFields {
    /// The fields `names` of the builder's catalog.
    ///
    /// # Errors
    /// As [`Attributes::new`].
    pub(crate) fn new(builder: &mut Builder<'_>, names: &[String]) -> Result<Self> {
        let (width, catalog) = (builder.width(), builder.catalog().clone());
        let known: Vec<&str> = catalog.contexts.iter().map(|f| f.name.as_str()).collect();
        check_names("model.contexts", "fields of context", names, &known)?;
        let chosen = catalog.contexts.iter().enumerate().filter(|(_, f)| names.contains(&f.name));
        let part = |(place, ContextField { name, count }): (usize, &ContextField)| {
            (place, builder.at(name).value_table("values", *count, width))
        };
        Ok(Self { parts: chosen.map(part).collect(), fields: known.len() })
    }

    /// Number of fields that are read.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The embeddings of each field, `[B, d]`, of `contexts` `[B, F]`.
    pub(crate) fn columns(&self, pass: &mut Pass<'_>, contexts: &[u32]) -> Vec<Mat> {
        let column = |(place, table): &(usize, TableId)| {
            let values: Vec<u32> = contexts.iter().skip(*place).step_by(self.fields).copied().collect();
            let (rows, places) = pass.value_rows(*table, &values);
            ops::gather_rows(&mut pass.tape, &rows, &places)
        };
        self.parts.iter().map(column).collect()
    }
}

fn check_names(field: &str, what: &str, names: &[String], known: &[&str]) -> Result<()> {
    for (i, name) in names.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            return Err(unknown(field, what, name, known));
        }
        if names[..i].contains(name) {
            return Err(Error::config(field, name, "stands there twice"));
        }
    }
    Ok(())
}

fn unknown(field: &str, what: &str, name: &str, known: &[&str]) -> Error {
    let message = match nearest_name(name, known.iter().copied()) {
        Some(nearest) => {
            format!("this data has no such {what}; did you mean {nearest}? It has {}", known.join(", "))
        }
        None if known.is_empty() => format!("this data has no {what}"),
        None => format!("this data has no such {what}; it has {}", known.join(", ")),
    };
    Error::config(field, name, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mos_data::{Batch, Content, ItemFeature, rng};
    use rand::RngExt as _;

    use super::*;
    use crate::{CtrModel, HeadConfig, ItemIndex, ModelConfig, Tape, TrainConfig, testing::Mean};

    const ITEMS: usize = 40;

    /// Brands 1 and 2 for odd and even items, tags, a vector; the context of a user and of an impression.
    fn catalog() -> Arc<Catalog> {
        let mut draw = rng::stream(3, "features", &[]);
        let offsets = (0..=ITEMS).map(|i| i.saturating_sub(1) * 2 / 3).collect::<Vec<_>>();
        let ids = (0..offsets[ITEMS]).map(|_| draw.random_range(1..5u32)).collect();
        let values =
            (0..ITEMS * 3).map(|i| if i < 3 { 0.0 } else { draw.random_range(-1.0..1.0f32) }).collect();
        let brands = (0..ITEMS as u32).map(|i| if i == 0 { 0 } else { 2 - i % 2 }).collect();
        let feature = |name: &str, values| ItemFeature { name: name.into(), values };
        Arc::new(Catalog {
            items: ITEMS,
            categories: Some((0..ITEMS as u32).map(|i| i % 5).collect()),
            category_count: 5,
            features: vec![
                feature("brand", FeatureValues::One { ids: brands, count: 4 }),
                feature("tags", FeatureValues::Many { offsets, ids, count: 5 }),
                feature("image", FeatureValues::Dense(Content { dim: 3, values })),
            ],
            contexts: vec![
                ContextField { name: "age".into(), count: 3 },
                ContextField { name: "hour".into(), count: 6 },
            ],
            behaviours: 1,
            ..Catalog::default()
        })
    }

    fn model(attributes: &[&str], contexts: &[&str]) -> Result<CtrModel> {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let config = ModelConfig {
            dim: 4,
            head: HeadConfig::Mlp { hidden: vec![6] },
            attributes: owned(attributes),
            contexts: owned(contexts),
            dropout: 0.0,
            item_std: 0.3,
            ..ModelConfig::default()
        };
        CtrModel::new(&config, &catalog(), 5, |_: &mut Builder<'_>| Ok(Box::new(Mean)))
    }

    /// Samples of the items `of`; odd targets are clicked.
    fn batch(n: usize, of: std::ops::Range<u32>, seed: u64) -> Batch {
        let mut draw = rng::stream(seed, "features/batch", &[]);
        let mut out = Batch { offsets: vec![0], ..Batch::default() };
        for user in 0..n {
            let target = draw.random_range(of.clone());
            out.users.push(user as u32);
            out.targets.push(target);
            out.labels.push((target % 2) as f32);
            out.target_times.push(100);
            out.contexts.extend([draw.random_range(0..3u32), draw.random_range(0..6u32)]);
            for t in 0..user % 4 {
                out.items.push(draw.random_range(of.clone()));
                out.behaviours.push(0);
                out.sessions.push(0);
                out.times.push(t as i64);
            }
            out.offsets.push(out.items.len());
        }
        out
    }

    const ALL: [&str; 4] = ["category", "brand", "tags", "image"];

    /// A model whose value tables no longer stand at zero.
    fn trained() -> CtrModel {
        let mut model = model(&ALL, &["hour", "age"]).unwrap();
        for seed in 0..20 {
            model.train_step(&batch(16, 1..ITEMS as u32, seed), &TrainConfig::default(), 20, 20).unwrap();
        }
        model.prepare_scoring();
        model
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let mut model = trained();
        let batch = batch(12, 0..ITEMS as u32, 77);
        let named = model.gradients(&batch).unwrap();
        let (mut seen, mut compared, mut places) = (0, 0, 0);
        for (name, grads) in named.iter().filter(|(n, _)| n.contains("attributes") || n.contains("contexts"))
        {
            assert!(grads.iter().any(|g| *g != 0.0), "{name} has no gradient");
            for (i, grad) in grads.iter().enumerate() {
                let step = 4e-3;
                let mut at = |step: f32| model.loss_moved(&batch, name, i, step).unwrap();
                let (here, up, down) = (at(0.0), at(step), at(-step));
                let (right, left) = ((up - here) / step, (here - down) / step);
                places += 1;
                // A ReLU that switches inside the step has no derivative to compare.
                if (right - left).abs() < 1e-3 {
                    compared += 1;
                    let slope = (up - down) / (2.0 * step);
                    assert!(
                        (slope - grad).abs() < 1e-3,
                        "{name}[{i}]: {grad}, but the loss moves by {slope}"
                    );
                }
            }
            seen += 1;
        }
        assert_eq!(seen, 6, "four attributes and two fields");
        assert!(compared * 4 > places * 3, "only {compared} of {places} gradients could be compared");
    }

    #[test]
    fn an_attribute_is_added_to_the_embedding() {
        let (mut params, mut tables, catalog) = (Params::default(), Tables::default(), catalog());
        let mut builder = Builder::new(&mut params, &mut tables, &catalog, 2, 1);
        let names = ALL.map(str::to_owned);
        let attributes = Attributes::new(&mut builder, &names).unwrap();
        let mut values = std::collections::BTreeMap::new();
        for (t, table) in tables.tables.iter_mut().filter(|t| t.trained()).enumerate() {
            Arc::make_mut(&mut table.values)
                .iter_mut()
                .enumerate()
                .skip(2)
                .for_each(|(i, v)| *v = (10 * (t + 1) + i) as f32);
            values.insert(table.name.clone(), table.values.to_vec());
        }
        let weight = params.get(params.ids().next().unwrap()).to_vec();
        attributes.prepare(&mut params, &tables);
        let index = ItemIndex { items: vec![0, 7, 12, 39] };
        let rng = rng::stream(1, "tests", &[]);
        let mut pass = Pass::new(Tape::scoring(), &params, &tables, &index, rng);
        let embeddings = Mat::new(4, 2, (0..8).map(|i| i as f32).collect());
        let found = attributes.add(&mut pass, embeddings.clone()).to_vec();
        let FeatureValues::Many { offsets, ids, .. } = &catalog.features[1].values else { panic!() };
        let FeatureValues::Dense(image) = &catalog.features[2].values else { panic!() };
        for (u, item) in index.items.iter().map(|i| *i as usize).enumerate() {
            for c in 0..2 {
                let of = |table: &str, value: u32| values[table][value as usize * 2 + c];
                let brand = if item == 0 { 0 } else { 2 - item as u32 % 2 };
                let tags = &ids[offsets[item]..offsets[item + 1]];
                let mean = tags.iter().map(|t| of("tags.values", *t)).sum::<f32>() / tags.len().max(1) as f32;
                let seen: f32 = (0..3).map(|k| image.values[item * 3 + k] * weight[k * 2 + c]).sum();
                let wanted = embeddings.to_vec()[u * 2 + c]
                    + of("category.values", item as u32 % 5)
                    + of("brand.values", brand)
                    + mean
                    + seen;
                assert!(
                    (found[u * 2 + c] - wanted).abs() < 1e-4,
                    "item {item}: {} and {wanted}",
                    found[u * 2 + c]
                );
            }
        }
    }

    /// Items that training never met are told apart by a brand that it met.
    #[test]
    fn a_brand_carries_over_to_new_items() {
        let score = |attributes: &[&str]| {
            let mut model = model(attributes, &[]).unwrap();
            let config = TrainConfig { target_l2: 0.0, ..TrainConfig::default() };
            for seed in 0..200 {
                model.train_step(&batch(32, 1..20, seed), &config, 200, 200).unwrap();
            }
            model.prepare_scoring();
            let new = batch(64, 20..ITEMS as u32, 1);
            let scores = model.score(&new).unwrap();
            scores.iter().zip(&new.labels).filter(|(s, l)| (**s > 0.0) == (**l > 0.5)).count()
        };
        let (with, without) = (score(&["brand"]), score(&[]));
        assert!(with >= 60 && without < 50, "{with} and {without} of 64");
    }

    #[test]
    fn none_and_what_training_never_met_stay_at_zero() {
        let model = trained();
        let table = |name: &str| {
            let table = model.tables().tables.iter().find(|t| t.name == name).unwrap();
            table.values.chunks(table.dim).map(|row| row.iter().any(|v| *v != 0.0)).collect::<Vec<_>>()
        };
        // Brand 3 has no item.
        assert_eq!(table("attributes.brand.values"), [false, true, true, false]);
        assert_eq!(table("contexts.age.values"), [false, true, true]);
    }

    #[test]
    fn cost_is_what_is_executed_and_a_score_stands_alone() {
        let model = trained();
        let batch = batch(9, 0..ITEMS as u32, 8);
        let (scores, cost) = model.score_counted(&batch).unwrap();
        assert_eq!(model.stated_cost(&batch).unwrap(), cost);
        let alone: Vec<f32> = batch.split(9).iter().flat_map(|one| model.score(one).unwrap()).collect();
        assert_eq!(scores, alone);
    }

    #[test]
    fn names_that_do_not_exist_are_refused() {
        let said =
            |attributes: &[&str], contexts: &[&str]| model(attributes, contexts).unwrap_err().to_string();
        let message = said(&["brnd"], &[]);
        assert!(message.contains("model.attributes") && message.contains("did you mean brand"), "{message}");
        assert!(said(&["content"], &[]).contains("category, brand, tags, image"));
        assert!(said(&["brand", "brand"], &[]).contains("twice"));
        assert!(said(&[], &["minute"]).contains("model.contexts"));
        // A batch without the contexts that the model reads.
        let mut short = batch(3, 1..9, 1);
        short.contexts.pop();
        assert!(trained().score(&short).unwrap_err().to_string().contains("contexts"));
    }
}
