//! Times that are written as dates.

use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};

use super::table::Row;
use crate::Result;

/// How a column of times is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// `2010-10-19T23:55:27Z`, with any offset or none (UTC), `T` or a blank, with or without fractions or time of day.
    Iso,
    /// `11/15/2019 8:55:22 AM`, UTC.
    American,
    /// `Tue Apr 03 18:00:09 +0000 2012`.
    Twitter,
    /// Unix seconds with decimals.
    Decimal,
}

impl Clock {
    pub(super) fn milliseconds(self, text: &str) -> Option<i64> {
        let utc = |civil: DateTime| civil.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
        let moment = match self {
            Self::Iso => text.parse().ok().or_else(|| text.parse().ok().and_then(utc)),
            Self::American => DateTime::strptime("%m/%d/%Y %I:%M:%S %p", text).ok().and_then(utc),
            Self::Twitter => {
                let parsed = strtime::parse("%a %b %d %H:%M:%S %z %Y", text);
                parsed.ok().and_then(|p| p.to_timestamp().ok())
            }
            Self::Decimal => {
                return text
                    .parse::<f64>()
                    .ok()
                    .filter(|x| x.is_finite())
                    .map(|x| (x * 1000.0).round() as i64);
            }
        };
        moment.map(Timestamp::as_millisecond)
    }

    fn example(self) -> &'static str {
        match self {
            Self::Iso => "2010-10-19T23:55:27Z",
            Self::American => "11/15/2019 8:55:22 AM",
            Self::Twitter => "Tue Apr 03 18:00:09 +0000 2012",
            Self::Decimal => "1411990498.509",
        }
    }

    /// The time in column `c` of a row, `ticks` (at most 1,000) of which make a second.
    pub(super) fn time(self, row: &Row<'_>, c: usize, ticks: i64) -> Result<i64> {
        let milliseconds = self.milliseconds(&row.text(c)).ok_or_else(|| {
            row.fail(c, "is no time", format!("times are written as {} here", self.example()))
        })?;
        row.known_time(c, milliseconds.div_euclid(1000 / ticks), ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn dates_are_read() {
        for (clock, text, wanted) in [
            (Clock::Iso, "2010-10-19T23:55:27Z", Some(1_287_532_527_000)),
            (Clock::Iso, "2010-10-20T01:55:27.250+02:00", Some(1_287_532_527_250)),
            (Clock::Iso, "2010-10-19 23:55:27", Some(1_287_532_527_000)),
            (Clock::Iso, "2010-10-19", Some(1_287_446_400_000)),
            (Clock::Iso, "2010-13-19", None),
            (Clock::American, "11/15/2019 8:55:22 AM", Some(1_573_808_122_000)),
            (Clock::American, "1/5/2019 12:00:01 PM", Some(1_546_689_601_000)),
            (Clock::American, "1/5/2019 12:00:01 AM", Some(1_546_646_401_000)),
            (Clock::American, "15/1/2019 8:55:22 AM", None),
            (Clock::Twitter, "Tue Apr 03 18:00:09 +0000 2012", Some(1_333_476_009_000)),
            (Clock::Decimal, "1411990498.509", Some(1_411_990_498_509)),
            (Clock::Decimal, "NaN", None),
        ] {
            assert_eq!(clock.milliseconds(text), wanted, "{text}");
        }
    }
}
