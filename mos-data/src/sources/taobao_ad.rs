//! Ali_Display_Ad_Click (Tianchi data set 56): advertisements shown on Taobao, with the behaviour of their users.
//!
//! | file | columns |
//! | --- | --- |
//! | `raw_sample.csv` | `user`, `time_stamp`, `adgroup_id`, `pid`, `nonclk`, `clk`: the shown advertisements of eight days |
//! | `ad_feature.csv` | `adgroup_id`, `cate_id`, `campaign_id`, `customer`, `brand`, `price` |
//! | `user_profile.csv` | `userid`, `cms_segid`, `cms_group_id`, `final_gender_code`, `age_level`, ... |
//! | `behavior_log.csv` | `user`, `time_stamp`, `btag` (`pv`, `cart`, `fav`, `buy`), `cate`, `brand`: three weeks before |
//!
//! All have a header; `NULL` and empty cells are unknown. The behaviour log knows categories and brands, no advertisements, so
//! **the items are categories**: an impression asks whether the user clicks an advertisement of this category, and the histories
//! are behaviours on categories. The advertisement, its campaign, customer and brand, and its place on the page (`pid`), are
//! the context of the impression, the profile that of the user. The price is a number and not read. Without the behaviour log
//! clicks on advertisements form the histories. Users of the log that saw no advertisement are left out and counted.
//!
//! The columns follow the publisher's description and were checked against a table that was made from the set.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    table::{Layout, Row, Table},
    task,
};
use crate::{Event, Impression, LabelRule, Log, Result, Sessionizer, TaskConfig};

const BEHAVIOURS: [&str; 4] = ["pv", "cart", "fav", "buy"];
const PROFILE: [&str; 8] = [
    "cms_segid",
    "cms_group_id",
    "final_gender_code",
    "age_level",
    "pvalue_level",
    "shopping_level",
    "occupation",
    "new_user_class_level",
];
/// What is known of an advertisement beside its category.
const OF_AD: [&str; 3] = ["campaign_id", "customer", "brand"];
const HEADER: Layout<'_> = Layout { separator: ",", header: true, quotes: false, columns: None };

/// Ali_Display_Ad_Click.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaobaoAd {}

impl Format for TaobaoAd {
    const NAME: &'static str = "taobao-ad";
    const LINE: &'static str =
        "Ali_Display_Ad_Click: raw_sample, ad_feature, user_profile, behavior_log, all .csv";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let mut log = LogBuilder::new(reading);
        log.impressions = Some(Vec::new());
        for behaviour in BEHAVIOURS {
            log.behaviours.number(behaviour);
        }
        let ads = ads(reading)?;
        let log_of_behaviour = reading.files.find(&["behavior_log.csv"]);
        let fields = ["adgroup_id"].into_iter().chain(OF_AD).chain(["pid"]).map(|f| log.impression_field(f));
        let fields: Vec<usize> = fields.collect();
        let mut table = Table::open(&reading.files.main(&["raw_sample.csv"])?, HEADER)?;
        let [user, time, ad, place, click] =
            columns(&table, [&["user", "userid"], &["time_stamp"], &["adgroup_id"], &["pid"], &["clk"]])?;
        table.each(reading, |row| {
            let (raw, id, time) = (row.number_id(user)?, row.number_id(ad)?, row.time(time, 1)?);
            let label = row.label(click)?;
            let user = log.users.number(&raw);
            let ad = ads.get(id.as_ref());
            if ad.is_none() {
                log.drop_row("shown advertisements that ad_feature lacks (their category is unknown)");
            }
            let item = ad.map_or(0, |ad| log.items.number(&ad.category));
            log.impressions.get_or_insert_default().push(Impression { user, item, time, label });
            let of_ad = OF_AD.iter().enumerate().map(|(i, _)| ad.map_or("", |ad| &ad.further[i]));
            let pid = row.text(place);
            let values = [id.as_ref()].into_iter().chain(of_ad).chain([known(&pid)]);
            fields.iter().zip(values).for_each(|(field, value)| log.set_impression(*field, value));
            if log_of_behaviour.is_none() && label > 0.5 {
                log.events.push(Event { user, item, time, behaviour: 1, rating: None, session: None });
            }
            Ok(())
        })?;
        profiles(reading, &mut log)?;
        if let Some(file) = log_of_behaviour {
            let mut table = Table::open(&file, HEADER)?;
            let [user, time, tag, category] =
                columns(&table, [&["user", "userid"], &["time_stamp"], &["btag"], &["cate"]])?;
            table.each(reading, |row| {
                let Some(user) = log.users.find(&row.number_id(user)?) else {
                    log.drop_row("behaviours of users who saw no advertisement");
                    return Ok(());
                };
                let none = || row.fail(tag, "is no behaviour", "pv, cart, fav or buy");
                let behaviour = log.behaviours.find(&row.text(tag)).ok_or_else(none)? as u8;
                let (item, time) = (log.items.number(&row.number_id(category)?), row.time(time, 1)?);
                log.events.push(Event { user, item, time, behaviour, rating: None, session: None });
                Ok(())
            })?;
        }
        log.build("taobao-ad", 1)
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::Impressions {}, Sessionizer::HALF_HOUR))
    }
}

fn known(text: &str) -> &str {
    if text.eq_ignore_ascii_case("null") { "" } else { text }
}

/// The places of columns, each of which may have several names.
fn columns<const N: usize>(table: &Table, names: [&[&str]; N]) -> Result<[usize; N]> {
    let mut places = [0; N];
    for (place, names) in places.iter_mut().zip(names) {
        *place = table.column(names)?;
    }
    Ok(places)
}

struct Ad {
    category: String,
    /// [`OF_AD`].
    further: [String; OF_AD.len()],
}

fn ads(reading: &Reading) -> Result<HashMap<String, Ad>> {
    let file = reading.files.find(&["ad_feature.csv"]).ok_or_else(|| {
        let hint = "it lies beside raw_sample.csv and says the category of each advertisement";
        crate::Error::file(reading.files.root(), "ad_feature.csv is not here", hint)
    })?;
    let mut table = Table::open(&file, HEADER)?;
    let [id, category] = columns(&table, [&["adgroup_id"], &["cate_id"]])?;
    let further = columns(&table, OF_AD.each_ref().map(std::slice::from_ref))?;
    let mut out = HashMap::new();
    let text = |row: &Row<'_>, c: usize| known(&row.text(c)).to_owned();
    table.each(reading, |row| {
        let ad =
            Ad { category: row.number_id(category)?.into_owned(), further: further.map(|c| text(row, c)) };
        out.insert(row.number_id(id)?.into_owned(), ad);
        Ok(())
    })?;
    Ok(out)
}

fn profiles(reading: &Reading, log: &mut LogBuilder) -> Result<()> {
    let Some(file) = reading.files.find(&["user_profile.csv"]) else { return Ok(()) };
    let mut table = Table::open(&file, HEADER)?;
    let [id] = columns(&table, [&["userid", "user"]])?;
    // The header of the published file ends in a blank, which the table trims.
    let places = columns(&table, PROFILE.each_ref().map(std::slice::from_ref))?;
    let fields = PROFILE.map(|name| log.user_field(name));
    table.each(reading, |row| {
        if let Some(user) = log.users.find(&row.number_id(id)?) {
            for (field, place) in fields.iter().zip(places) {
                log.set_user(user, *field, known(&row.text(place)));
            }
        }
        Ok(())
    })
}
